"""The installed release: its signature, its files, and what an unfinished operation left.

Invariant: the journal is read as it is, never repaired; only a sample of the files is hashed, so
that the answer comes in seconds. All files: `pug-appliance bundle verify`.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import ApplianceError
from appliance.lifecycle.doctor.facts import ReleaseFacts, Subject
from appliance.lifecycle.doctor.gathering.probing import in_thread
from appliance.lifecycle.doctor.gathering.scene import ROOT_ONLY, Scene
from appliance.lifecycle.layout import MANIFEST_NAME, SIGNATURE_NAME, Layout
from appliance.lifecycle.manifest import FileEntry, decode_manifest
from appliance.lifecycle.release_tree import difference
from appliance.lifecycle.signature import (
    KEY_ID_LENGTH,
    PUBLIC_SUFFIX,
    PublicKey,
    TrustedKeys,
    parse_public_key,
    verify,
)


class _Operation(msgspec.Struct, frozen=True, kw_only=True):
    kind: str = ""
    started_at: str = ""


class _Dated(msgspec.Struct, frozen=True, kw_only=True):
    source_date: int = 0


_SAMPLE_BYTES_MAX: Final = 64 << 20
_PROGRAM: Final = "0755"
_UNREADABLE: Final = _Operation(kind="unknown")


class _Signed(msgspec.Struct, frozen=True, kw_only=True):
    key: str = ""
    error: str = ""
    bad_keys: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    compared: int = 0


async def gather_release(scene: Scene) -> ReleaseFacts:
    """What is installed; nothing in a developer's data directory."""
    layout = scene.layout
    if layout is None:
        return ReleaseFacts()
    return await in_thread(lambda: _look(scene, layout))


def _look(scene: Scene, layout: Layout) -> ReleaseFacts:
    operation = _open_operation(scene, layout)
    version, problem = _current(layout)
    signed = _signature(layout)
    return ReleaseFacts(
        version=version,
        previous=_link(layout.previous),
        installed=_names(scene, layout.releases),
        current_problem=problem,
        open_operation=operation.kind,
        open_since=operation.started_at,
        staged=_names(scene, layout.staging),
        trusted_keys=_names(scene, layout.trusted_keys),
        bad_keys=signed.bad_keys,
        signed_by=signed.key,
        signature_error=signed.error,
        differing=signed.differing,
        compared=signed.compared,
    )


def _signature(layout: Layout) -> _Signed:
    """Who signed the manifest of the release in use, and whether a sample of it is untouched."""
    keys, bad = _keys(layout.trusted_keys)
    folder = layout.current.resolve()
    try:
        content = (folder / MANIFEST_NAME).read_bytes()
        key = verify(content, (folder / SIGNATURE_NAME).read_bytes(), TrustedKeys(keys=keys))
        manifest = decode_manifest(content)
    except OSError as error:
        return _Signed(error=f"{MANIFEST_NAME}: {error.strerror}", bad_keys=bad)
    except ApplianceError as error:
        return _Signed(error=error.message, bad_keys=bad)
    sample = choose_sample(manifest.files)
    return _Signed(
        key=key.id[:KEY_ID_LENGTH],
        bad_keys=bad,
        compared=len(sample),
        differing=tuple(
            entry.path for entry in sample if difference(folder / entry.path, entry) is not None
        ),
    )


def choose_sample(files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    """Files whose hashing fits into seconds: small ones first, programs and libraries before."""
    by_weight = sorted(files, key=lambda entry: (entry.mode != _PROGRAM, entry.size))
    chosen: list[FileEntry] = []
    room = _SAMPLE_BYTES_MAX
    for entry in by_weight:
        if entry.size <= room:
            chosen.append(entry)
            room -= entry.size
    return tuple(chosen)


def _keys(folder: Path) -> tuple[tuple[PublicKey, ...], tuple[str, ...]]:
    """The trusted keys, and the names of files that are none."""
    keys: list[PublicKey] = []
    bad: list[str] = []
    for path in sorted(folder.glob(f"*{PUBLIC_SUFFIX}")):
        try:
            keys.append(parse_public_key(path.read_text("ascii")))
        except (OSError, UnicodeDecodeError, ApplianceError):
            bad.append(path.name)
    return tuple(keys), tuple(bad)


def _open_operation(scene: Scene, layout: Layout) -> _Operation:
    try:
        first = layout.open_journal.read_bytes().partition(b"\n")[0]
        return msgspec.json.decode(first, type=_Operation)
    except FileNotFoundError:
        return _Operation()
    except PermissionError:
        scene.blind(Subject.RELEASE, "the journal of operations", ROOT_ONLY)
        return _Operation()
    except (OSError, msgspec.DecodeError):
        return _UNREADABLE


def _current(layout: Layout) -> tuple[str, str]:
    name = _link(layout.current)
    if not name:
        return "", f"{layout.current} is no link to a release"
    if not layout.binary.exists():
        return name, f"{layout.current} points to {name}, which has no program"
    return name, ""


def _link(path: Path) -> str:
    try:
        return path.readlink().name
    except OSError:
        return ""


def _names(scene: Scene, folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(path.name for path in folder.iterdir()))
    except PermissionError:
        scene.blind(Subject.RELEASE, str(folder), ROOT_ONLY)
    except OSError:
        pass
    return ()


def manifest_date(layout: Layout) -> datetime | None:
    """When the sources of the release in use were written."""
    try:
        content = (layout.current / MANIFEST_NAME).read_bytes()
        seconds = msgspec.json.decode(content, type=_Dated).source_date
    except (OSError, msgspec.DecodeError):
        return None
    return datetime.fromtimestamp(seconds, tz=UTC) if seconds else None
