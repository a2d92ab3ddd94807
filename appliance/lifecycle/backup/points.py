"""Restore points: a moment kept on the same disk, cheap enough to make before every change.

Invariant: a restore point is a folder that appears under its name when it is complete. It holds
links to parts of tables, a dump, and the ledger; the queue itself stays live, because going back
means: the stores of then, and every event acknowledged since, stored again from the queue, once.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.errors import DamagedError, NotFoundError, UnmetError
from appliance.base.files import ensure_folder, flush_folder, unwritable, write_atomic
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.engines.nats import EVENTS_STREAM, store_bytes
from appliance.engines.nats_snapshot import (
    keep_messages,
    read_ledger,
    stream_state,
    write_ledger,
)
from appliance.engines.nats_wire import NatsDoor
from appliance.lifecycle.backup.capture import (
    Capture,
    Snapshot,
    nats_door,
    remove_snapshots,
)
from appliance.lifecycle.backup.create import (
    Origin,
    describe,
    engines_answering,
    next_sequence,
    snapshot_lock,
    unused_name,
)
from appliance.lifecycle.backup.flushing import flush_file_system
from appliance.lifecycle.backup.model import Manifest, Part, Summary
from appliance.lifecycle.backup.rebuild import rebuild
from appliance.lifecycle.backup.restore import FileSteps, Restoring, check_release
from appliance.lifecycle.backup.retention import DaysSeen
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.steps import Step

POINTS: Final = "restore-points"
STORES: Final = (Part.POSTGRES, Part.CLICKHOUSE)
DAYS_MAX: Final = 30
KEPT_SECONDS: Final = 7 * 86400
"""How long the queue keeps whatever came since a restore point, however busy it is."""
_MANIFEST: Final = "point.json"
_DAYS: Final = "days.json"
_LEDGER_BEFORE: Final = "ledger-before.json"


class _Position(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed of the events worker's record."""

    stream: str
    done: int


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What going back to a restore point means for the events since.

    `messages` wait in the queue to be stored again; `lost` are gone from it already.
    """

    messages: int
    lost: int


def points_folder(settings: Settings) -> Path:
    """Where restore points lie."""
    return settings.data_dir / "backups" / POINTS


async def create_restore_point(
    origin: Origin, *, reason: str, clock: Clock, progress: Progress
) -> Summary:
    """Keep this moment; older restore points beyond `backup.restore_points_max` go.

    Works on a running or stopped installation. Raises ApplianceError when a store does not answer;
    then nothing was kept and nothing changed.
    """
    settings = origin.settings
    started = clock.monotonic_seconds()
    with snapshot_lock(settings):
        remove_snapshots(settings)
        home = ensure_folder(points_folder(settings))
        _remove_unfinished(home)
        listed = list_restore_points(settings)
        name = unused_name(clock, {path.name for path in home.iterdir()})
        making = home / f".{name}"
        try:
            async with engines_answering(origin):
                capture = Capture(settings, clock=clock, progress=progress, name=name)
                snapshot = await capture.run(with_streams=False)
                await _keep_messages(settings, snapshot, clock)
            for part in STORES:
                if part in snapshot.folders:
                    await asyncio.to_thread(
                        transfer, snapshot.folders[part], ensure_folder(making) / part.value
                    )
            manifest = describe(
                snapshot,
                (),
                name=name,
                sequence=next_sequence(listed),
                reason=reason,
                encrypted=False,
                added=0,
                seconds=clock.monotonic_seconds() - started,
            )
            write_atomic(making / _MANIFEST, msgspec.json.encode(manifest))
            await asyncio.to_thread(flush_file_system, home)
            making.rename(home / name)
            flush_folder(home)
        except OSError as error:
            raise unwritable(home, error) from error
        finally:
            remove_snapshots(settings)
            shutil.rmtree(making, ignore_errors=True)
        prune_restore_points(settings, clock)
    return manifest.summary


async def _keep_messages(settings: Settings, snapshot: Snapshot, clock: Clock) -> None:
    """Have the queue keep what going back will need, for a while and as far as the disk allows."""
    endpoint = resolve_endpoints(settings).nats
    if endpoint.external or not snapshot.ledger:
        return
    position = msgspec.json.decode(snapshot.ledger, type=_Position)
    limit = settings.nats.store_bytes_max or store_bytes(settings.folders.nats)
    await keep_messages(
        nats_door(endpoint),
        first=position.done + 1,
        until=clock.now().timestamp() + KEPT_SECONDS,
        bytes_max=int(limit) // 2,
    )


def list_restore_points(settings: Settings) -> tuple[Summary, ...]:
    """Every restore point in the order they were made; damaged ones are left out."""
    found: list[Summary] = []
    for path in points_folder(settings).glob(f"*/{_MANIFEST}"):
        try:
            found.append(load_restore_point(settings, path.parent.name).summary)
        except DamagedError:
            continue
    return tuple(sorted(found, key=lambda one: one.order))


def load_restore_point(settings: Settings, name: str) -> Manifest:
    """One restore point; raises NotFoundError or DamagedError."""
    path = points_folder(settings) / name / _MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise NotFoundError(
            "RESTORE_POINT_UNKNOWN",
            f"there is no restore point {name}",
            hint="`pug-appliance backup restore-point list` shows them",
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise DamagedError("RESTORE_POINT_DAMAGED", f"{path} cannot be read") from error


def remove_restore_point(settings: Settings, name: str) -> None:
    """Let one restore point go; none of that name is fine."""
    path = points_folder(settings) / name
    if path.is_dir() and path.parent == points_folder(settings):
        path.rename(path.with_name(f".{name}"))
        shutil.rmtree(path.with_name(f".{name}"), ignore_errors=True)


def prune_restore_points(settings: Settings, clock: Clock) -> None:
    """Keep the newest `backup.restore_points_max` that were not seen on `DAYS_MAX` days yet.

    An old one is dear: it holds every part of a table that has been merged into another since.
    Raises MisconfiguredError when the folder cannot be written.
    """
    points = list_restore_points(settings)
    if not points:
        return
    note = points_folder(settings) / _DAYS
    seen = _load_days(note).look(f"{clock.now():%Y-%m-%d}", [one.id for one in points])
    write_atomic(note, msgspec.json.encode(seen))
    many = max(0, len(points) - settings.backup.restore_points_max)
    for index, point in enumerate(points):
        if index < many or seen.days(point.id) > DAYS_MAX:
            remove_restore_point(settings, point.id)


def _load_days(note: Path) -> DaysSeen:
    try:
        return msgspec.json.decode(note.read_bytes(), type=DaysSeen)
    except (OSError, msgspec.DecodeError):
        return DaysSeen()


class PointSource:
    """A restore point as something to rebuild from: parts are linked, not copied."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._folder = points_folder(settings) / name
        self.manifest = load_restore_point(settings, name)

    async def place(self, folders: Mapping[Part, Path], progress: Progress) -> None:
        """Link each part into its folder; raises DamagedError when one is missing."""
        del progress
        for part, target in folders.items():
            if part not in STORES:
                continue
            source = self._folder / part.value
            if not source.is_dir():
                raise DamagedError("RESTORE_POINT_DAMAGED", f"{source} is missing")
            try:
                await asyncio.to_thread(link_tree, source, target)
            except OSError as error:
                raise unwritable(target, error) from error


class PointSteps:
    """Going back to a restore point as steps for somebody else's plan.

    The caller puts its own steps between them: `rebuild` while everything may still run, then the
    API and the workers stop, `rewind` while the queue answers, then the stores stop, `exchange`,
    then everything starts (by then older) programs, `tidy`. Each `undo` leads back.
    """

    def __init__(
        self, origin: Origin, name: str, *, progress: Progress, parts: tuple[Part, ...] = STORES
    ) -> None:
        self._origin = origin
        self._name = name
        self._progress = progress
        self._parts = parts
        self._restoring = Restoring(settings=origin.settings, parts=parts)
        self._files = FileSteps(self._restoring)

    @property
    def rebuild(self) -> Step:
        """Make the stores of then beside the live ones."""
        return Step(
            name="rebuild",
            title="rebuilding the restore point",
            do=self._rebuild,
            undo=self._files.drop,
        )

    @property
    def rewind(self) -> Step:
        """Let the queue's record say what the stores of then have; no events worker may run."""
        return Step(
            name="rewind",
            title="rewinding the queue's record",
            do=self._rewind,
            undo=self._rewind_back,
        )

    @property
    def exchange(self) -> Step:
        """Exchange the stores; their engines must not run."""
        return Step(
            name="exchange",
            title="exchanging the data",
            do=self._files.exchange,
            undo=self._files.exchange_back,
        )

    @property
    def tidy(self) -> Step:
        """Remove what was only needed on the way; after this there is no way back."""
        return Step(name="tidy", title="tidying up", do=self._files.tidy)

    async def _rebuild(self) -> None:
        source = PointSource(self._origin.settings, self._name)
        check_release(source.manifest.summary)
        await rebuild(
            source,
            self._restoring.folder,
            self._origin.settings,
            inherited=self._origin.inherited,
            progress=self._progress,
            parts=self._parts,
        )
        await self._files.bring()

    async def _rewind(self) -> None:
        manifest = load_restore_point(self._origin.settings, self._name)
        door = self._door()
        if door is None or not manifest.ledger or Part.CLICKHOUSE not in self._parts:
            return
        before = self._restoring.folder / _LEDGER_BEFORE
        if not before.exists():
            write_atomic(before, await read_ledger(door))
        await write_ledger(door, manifest.ledger.encode())

    async def _rewind_back(self) -> None:
        before = self._restoring.folder / _LEDGER_BEFORE
        door = self._door()
        if door is not None and before.exists():
            await write_ledger(door, before.read_bytes())

    def _door(self) -> NatsDoor | None:
        endpoint = resolve_endpoints(self._origin.settings).nats
        return None if endpoint.external else nats_door(endpoint)


async def check_replay(settings: Settings, name: str) -> Replay:
    """How many messages will be stored again after going back; the queue must answer.

    Raises UnmetError when the queue is another one than then, or does not have all of them any
    more: then going back would lose events.
    """
    manifest = load_restore_point(settings, name)
    endpoint = resolve_endpoints(settings).nats
    if endpoint.external or not manifest.ledger:
        return Replay(messages=0, lost=0)
    position = msgspec.json.decode(manifest.ledger, type=_Position)
    _, messages, first, last = await stream_state(nats_door(endpoint), EVENTS_STREAM)
    lost = max(0, first - position.done - 1) if messages else max(0, last - position.done)
    if lost:
        raise UnmetError(
            "REPLAY_GAP",
            f"{lost} messages since restore point {name} are gone from the queue",
            hint="the newer data has them; go back to a younger restore point",
        )
    return Replay(messages=max(0, last - position.done), lost=0)


def transfer(source: Path, target: Path) -> None:
    """Move a folder, by links and copies where a rename cannot; raises OSError."""
    try:
        source.rename(target)
    except OSError:
        target.mkdir(mode=0o700)
        link_tree(source, target)


def link_tree(source: Path, target: Path) -> None:
    """The same tree at `target` with hard links to its files, or copies elsewhere."""
    for parent, folders, files in os.walk(source):
        here = target / Path(parent).relative_to(source)
        here.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                (here / name).unlink(missing_ok=True)
                (here / name).symlink_to(path.readlink())
            elif not path.is_dir():
                (here / name).unlink(missing_ok=True)
                _link(path, here / name)


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, target)


def _remove_unfinished(home: Path) -> None:
    for path in home.glob(".*"):
        shutil.rmtree(path, ignore_errors=True)
