"""The backups of every target, as their manifests tell without a passphrase.

Invariant: only the summaries are read; whether a backup can be restored is what `backup verify`
finds out and leaves a note about.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import ApplianceError
from appliance.lifecycle.backup.model import Manifest, parse_summary
from appliance.lifecycle.backup.verdict import load_verdict
from appliance.lifecycle.doctor.facts import BackupFacts, BackupsFacts, Subject, TargetFacts
from appliance.lifecycle.doctor.gathering.probing import in_thread
from appliance.lifecycle.doctor.gathering.scene import ROOT_ONLY, Scene

_MANIFEST: Final = "manifest"
_POINTS: Final = "restore-points"
_POINT: Final = "point.json"
_BACKUPS_MAX: Final = 1000
_SUMMARY_BYTES_MAX: Final = 64 << 20


async def gather_backups(scene: Scene) -> BackupsFacts:
    """Everything that could be restored."""
    return await in_thread(lambda: _look(scene))


def _look(scene: Scene) -> BackupsFacts:
    folders = scene.folders
    targets = scene.settings.backup.targets or (folders.backups,)
    points = dict(_restore_points(scene))
    return BackupsFacts(
        restore_points=sum(points.values()),
        restore_points_damaged=tuple(name for name, whole in points.items() if not whole),
        targets=tuple(_look_at_target(scene, path) for path in targets),
        first_use=_first_use(folders.root),
        passphrase_problem=_passphrase_problem(scene),
    )


def _restore_points(scene: Scene) -> Iterator[tuple[str, bool]]:
    """The restore points, and whether each can be read."""
    try:
        paths = sorted(scene.folders.backups.glob(f"{_POINTS}/*/{_POINT}"))
    except OSError:
        return
    for path in paths:
        try:
            msgspec.json.decode(path.read_bytes(), type=Manifest)
            yield path.parent.name, True
        except (OSError, msgspec.DecodeError):
            yield path.parent.name, False


def _look_at_target(scene: Scene, path: Path) -> TargetFacts:
    try:
        same = path.stat().st_dev == scene.folders.root.stat().st_dev
        folders = sorted((path / "backups").iterdir())
    except FileNotFoundError:
        return TargetFacts(path=str(path), missing=not path.exists())
    except PermissionError:
        scene.blind(Subject.BACKUPS, str(path), ROOT_ONLY)
        return TargetFacts(path=str(path), error="permission denied")
    except OSError as error:
        return TargetFacts(path=str(path), error=error.strerror or str(error))
    found = [_look_at_backup(folder) for folder in folders[-_BACKUPS_MAX:]]
    return TargetFacts(
        path=str(path),
        same_disk=same,
        backups=tuple(one for one in found if isinstance(one, BackupFacts)),
        damaged=tuple(one for one in found if isinstance(one, str)),
    )


def _look_at_backup(folder: Path) -> BackupFacts | str | None:
    """A backup, the name of a damaged one, or None for one that was never finished."""
    try:
        with (folder / _MANIFEST).open("rb") as file:
            summary = parse_summary(file.read(_SUMMARY_BYTES_MAX), name=folder.name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ApplianceError, msgspec.MsgspecError):
        return folder.name
    verdict = load_verdict(folder)
    return BackupFacts(
        verified=verdict.good if verdict is not None else None,
        verified_at=verdict.at if verdict is not None else None,
        id=summary.id,
        point=_instant(summary.point),
        reason=summary.reason,
        encrypted=summary.encrypted,
        release_number=summary.release_number,
    )


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _first_use(folder: Path) -> datetime | None:
    """About when the data directory was made: its oldest entry."""
    times = sorted(_times(folder))
    return datetime.fromtimestamp(times[0], tz=UTC) if times else None


def _times(folder: Path) -> Iterator[float]:
    try:
        for path in folder.glob("*/*"):
            yield path.lstat().st_mtime
    except OSError:
        return


def _passphrase_problem(scene: Scene) -> str:
    path = scene.settings.backup.passphrase_file
    if path is None:
        return ""
    try:
        state = path.stat()
    except PermissionError:
        scene.blind(Subject.BACKUPS, str(path), ROOT_ONLY)
        return ""
    except OSError as error:
        return f"{path}: {error.strerror}"
    if state.st_mode & 0o077:
        return f"{path} can be read by others"
    return "" if state.st_size else f"{path} is empty"
