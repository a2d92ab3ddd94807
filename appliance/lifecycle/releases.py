"""The releases below the prefix: which there are, which are used, which can go.

Invariant: a release that is current, previous, or runs a process is never removed; an engine that
an upgrade left alone still runs from the release that started it.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import NotFoundError
from appliance.base.files import flush_folder
from appliance.lifecycle.layout import Layout
from appliance.lifecycle.manifest import BundleRefusedError, Manifest, decode_manifest
from appliance.lifecycle.release_tree import load_manifest
from appliance.lifecycle.signature import TrustedKeys

PROC: Final = Path("/proc")


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One installed release; bytes that other releases share by hard links are in both counts."""

    version: str
    number: int
    current: bool
    previous: bool
    in_use: bool
    size_bytes: int
    shared_bytes: int
    signature: str
    """`trusted`, or why not."""


def version_of(link: Path) -> str:
    """The version a link points to; empty when there is no such link."""
    return link.readlink().name if link.is_symlink() else ""


def current_manifest(layout: Layout) -> Manifest:
    """The manifest of the release in use.

    Raises NotFoundError when nothing is installed and BundleRefusedError when it is damaged.
    """
    version = version_of(layout.current)
    if not version:
        raise NotFoundError(
            "NOT_INSTALLED",
            f"no release is in use in {layout.prefix}",
            hint="run `pug-appliance install` from the unpacked bundle",
        )
    return load_manifest(layout.release(version))


def installed_manifests(layout: Layout) -> dict[str, Manifest]:
    """The manifest of every complete release, by version."""
    found: dict[str, Manifest] = {}
    for folder in _folders(layout):
        with suppress(BundleRefusedError):
            found[folder.name] = load_manifest(folder)
    return found


def list_releases(
    layout: Layout, trusted: TrustedKeys, *, proc: Path = PROC
) -> tuple[Release, ...]:
    """Every complete release, the oldest first."""
    used = versions_in_use(layout, proc)
    current, previous = version_of(layout.current), version_of(layout.previous)
    found: list[Release] = []
    for folder in _folders(layout):
        try:
            manifest = decode_manifest((folder / "manifest.json").read_bytes())
        except (OSError, BundleRefusedError):
            continue
        size, shared = _sizes(folder)
        found.append(
            Release(
                version=folder.name,
                number=manifest.release,
                current=folder.name == current,
                previous=folder.name == previous,
                in_use=folder.name in used,
                size_bytes=size,
                shared_bytes=shared,
                signature=_signature_state(folder, trusted),
            )
        )
    return tuple(sorted(found, key=lambda release: release.number))


def older_than(layout: Layout, number: int) -> str:
    """The newest installed release below a release number, or nothing."""
    older = [one for one in installed_manifests(layout).values() if one.release < number]
    return max(older, key=lambda one: one.release).version if older else ""


def versions_in_use(layout: Layout, proc: Path = PROC) -> frozenset[str]:
    """The releases that some process was started from."""
    found: set[str] = set()
    releases = layout.releases.resolve()
    for program in _programs(proc):
        if program.is_relative_to(releases) and program != releases:
            found.add(program.relative_to(releases).parts[0])
    return frozenset(found)


def program_of(pid: int, proc: Path = PROC) -> Path | None:
    """The file a process was started from; None when there is no such process."""
    with suppress(OSError):
        return Path(str((proc / str(pid) / "exe").readlink()).removesuffix(" (deleted)"))
    return None


def remove_release(layout: Layout, version: str) -> None:
    """Have no such release; a power cut in the middle leaves no half one under its name."""
    folder = layout.release(version)
    going = layout.staging / f"{version}.removed"
    shutil.rmtree(going, ignore_errors=True)
    if folder.is_dir():
        layout.staging.mkdir(mode=0o700, exist_ok=True)
        folder.rename(going)
        flush_folder(layout.releases)
    shutil.rmtree(going, ignore_errors=True)


def prune_releases(layout: Layout, *, proc: Path = PROC) -> tuple[str, ...]:
    """Remove every release that is neither current nor previous nor in use; which went."""
    kept = {version_of(layout.current), version_of(layout.previous)} | versions_in_use(layout, proc)
    gone = tuple(folder.name for folder in _folders(layout) if folder.name not in kept)
    for version in gone:
        remove_release(layout, version)
    return gone


def _folders(layout: Layout) -> list[Path]:
    if not layout.releases.is_dir():
        return []
    return sorted(path for path in layout.releases.iterdir() if path.is_dir())


def _programs(proc: Path) -> Iterator[Path]:
    for entry in proc.iterdir():
        if entry.name.isdecimal():
            program = program_of(int(entry.name), proc)
            if program is not None:
                yield program


def _sizes(folder: Path) -> tuple[int, int]:
    """All bytes, and those that some other release has too."""
    size = shared = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            state = Path(parent, name).lstat()
            if stat.S_ISREG(state.st_mode):
                size += state.st_size
                shared += state.st_size if state.st_nlink > 1 else 0
    return size, shared


def _signature_state(folder: Path, trusted: TrustedKeys) -> str:
    try:
        load_manifest(folder, trusted=trusted)
    except BundleRefusedError as error:
        return error.message
    return "trusted"
