"""The installed release: its signature, its files, and what an unfinished operation left.

Invariant: the journal is read as it is, never repaired; only a sample of the files is hashed, so
that the answer comes in seconds. All files: `pug-appliance bundle verify`.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from appliance.lifecycle.doctor.facts import ReleaseFacts, Subject
from appliance.lifecycle.doctor.gathering.probing import in_thread
from appliance.lifecycle.doctor.gathering.scene import ROOT_ONLY, Scene
from appliance.lifecycle.layout import MANIFEST_NAME, Layout


class _Operation(msgspec.Struct, frozen=True, kw_only=True):
    kind: str = ""
    started_at: str = ""


class _Dated(msgspec.Struct, frozen=True, kw_only=True):
    source_date: int = 0


_UNREADABLE: Final = _Operation(kind="unknown")


async def gather_release(scene: Scene) -> ReleaseFacts:
    """What is installed; nothing in a developer's data directory."""
    layout = scene.layout
    if layout is None:
        return ReleaseFacts()
    return await in_thread(lambda: _look(scene, layout))


def _look(scene: Scene, layout: Layout) -> ReleaseFacts:
    operation = _open_operation(scene, layout)
    version, problem = _current(layout)
    # Late, because a doctor must not need a cryptography library to look at everything else.
    from appliance.lifecycle.doctor.gathering.signature import look_at_signature  # noqa: PLC0415

    signed = look_at_signature(layout)
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
