"""A release folder on disk, compared with its manifest.

Invariant: a difference is named by path and kind; nothing here changes a file. Checksums are taken
on two threads, because hashing lets go of the interpreter.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from appliance.lifecycle.layout import MANIFEST_NAME, SIGNATURE_NAME
from appliance.lifecycle.manifest import FileEntry, Manifest, decode_manifest, refused
from appliance.lifecycle.signature import TrustedKeys, verify

_THREADS: Final = 2


class Kind(StrEnum):
    """How a file differs from the manifest."""

    MISSING = "missing"
    SURPLUS = "surplus"
    CONTENT = "content"
    MODE = "mode"
    LINK = "link"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One file that is not as the manifest says."""

    path: str
    kind: Kind


class KnownFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Verified files of an installed release: by checksum and mode, and all their paths."""

    by_content: dict[tuple[str, str], Path]
    paths: frozenset[Path]


NOTHING_KNOWN: Final = KnownFiles(by_content={}, paths=frozenset())


def load_manifest(folder: Path, *, trusted: TrustedKeys | None = None) -> Manifest:
    """The manifest of a release folder; with `trusted` its signature is checked too.

    Raises BundleRefusedError when it is missing or wrong.
    """
    try:
        content = (folder / MANIFEST_NAME).read_bytes()
        signature = (folder / SIGNATURE_NAME).read_bytes()
    except OSError as error:
        raise refused(
            "MANIFEST_MISSING",
            f"{folder} has no manifest: it is no release",
            hint="unpack the bundle again",
        ) from error
    if trusted is not None:
        verify(content, signature, trusted)
    return decode_manifest(content)


def verify_tree(
    folder: Path, manifest: Manifest, *, note: Callable[[int], None] | None = None
) -> tuple[Difference, ...]:
    """Every difference between a release folder and its manifest; none when it is as signed.

    `note` is told the bytes of each file that has been compared.
    """
    wanted = {entry.path for entry in manifest.files} | {MANIFEST_NAME, SIGNATURE_NAME}
    surplus = [
        Difference(path=path, kind=Kind.SURPLUS) for path in sorted(_listed(folder) - wanted)
    ]

    def compare(entry: FileEntry) -> Difference | None:
        kind = difference(folder / entry.path, entry)
        if note is not None:
            note(entry.size)
        return Difference(path=entry.path, kind=kind) if kind is not None else None

    largest_first = sorted(manifest.files, key=lambda entry: -entry.size)
    with ThreadPoolExecutor(_THREADS) as pool:
        found = [one for one in pool.map(compare, largest_first) if one is not None]
    return tuple(sorted(found, key=lambda one: one.path) + surplus)


def difference(path: Path, entry: FileEntry) -> Kind | None:
    """How one file differs from its entry, or None."""
    try:
        state = path.lstat()
        if entry.link:
            same = stat.S_ISLNK(state.st_mode) and str(path.readlink()) == entry.link
            return None if same else Kind.LINK
        if not stat.S_ISREG(state.st_mode) or state.st_size != entry.size:
            return Kind.CONTENT
        if stat.S_IMODE(state.st_mode) != int(entry.mode, 8):
            return Kind.MODE
        with path.open("rb", buffering=0) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return Kind.MISSING
    return None if digest == entry.sha256 else Kind.CONTENT


def known_files(folder: Path) -> KnownFiles:
    """The files of an installed release that are as its manifest says."""
    manifest = load_manifest(folder)
    wrong = {one.path for one in verify_tree(folder, manifest)}
    sound = [one for one in manifest.files if not one.link and one.path not in wrong]
    return KnownFiles(
        by_content={(one.sha256, one.mode): folder / one.path for one in sound},
        paths=frozenset(folder / one.path for one in sound),
    )


def _listed(folder: Path) -> set[str]:
    found: set[str] = set()
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        found |= {os.path.relpath(Path(parent, name), folder) for name in [*names, *links]}
    return found
