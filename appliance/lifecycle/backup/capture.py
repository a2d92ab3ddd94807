"""One moment of all stores, as folders that stand still.

Invariant: event store and queue are of the same moment, because no insert runs between the first
link and the last; the ledger in the queue therefore says exactly what the event store has. The
relational store is of a moment right after, so work that waits in the queue is at worst done again.
"""

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.files import ensure_folder
from appliance.config.endpoints import LOOPBACK, Endpoints, NatsEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.engines.clickhouse_snapshot import (
    Table,
    ask_clickhouse,
    find_snapshots,
    freeze,
    plan_questions,
    schema_number,
    wait_for_inserts,
)
from appliance.engines.nats_snapshot import StreamFacts, copy_streams, read_ledger
from appliance.engines.nats_wire import NatsDoor
from appliance.engines.postgres_snapshot import dump_postgres, name_dump_files
from appliance.engines.programs import postgres_home
from appliance.lifecycle.backup.hold import worker_held
from appliance.lifecycle.backup.model import Answer, Part
from appliance.lifecycle.backup.stages import stage
from appliance.lifecycle.progress import Progress

SNAPSHOT_PREFIX: Final = "pug_backup_"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Folders that stand still, and what was found out about them at that moment."""

    name: str
    point: str
    folders: dict[Part, Path]
    tables: tuple[Table, ...] = ()
    dump_names: dict[str, str] = {}
    streams: tuple[StreamFacts, ...] = ()
    answers: tuple[Answer, ...] = ()
    schema: dict[str, int] = {}
    ledger: str = ""
    missing: tuple[Part, ...] = ()
    hold_seconds: float = 0.0


def nats_door(endpoint: NatsEndpoint) -> NatsDoor:
    """How to ask our own queue."""
    assert endpoint.password is not None, "our own queue has a password"
    port = int(endpoint.url.reveal().rpartition(":")[2])
    return NatsDoor(host=LOOPBACK, port=port, user=endpoint.user or "", password=endpoint.password)


def work_folder(settings: Settings, name: str) -> Path:
    """Where a snapshot keeps what the engines' folders do not."""
    return settings.data_dir / name


def remove_snapshots(settings: Settings) -> None:
    """Remove what snapshots left behind; only while nobody makes one."""
    folders = settings.folders
    left = (
        *find_snapshots(folders.clickhouse, SNAPSHOT_PREFIX),
        *folders.nats.glob(f"{SNAPSHOT_PREFIX}*"),
        *settings.data_dir.glob(f"{SNAPSHOT_PREFIX}*"),
    )
    for path in left:
        shutil.rmtree(path, ignore_errors=True)


class Capture:
    """Makes one snapshot of the running engines."""

    def __init__(self, settings: Settings, *, clock: Clock, progress: Progress, name: str) -> None:
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._name = f"{SNAPSHOT_PREFIX}{name.replace('-', '_')}"
        self._folders = settings.folders

    async def run(self, *, with_streams: bool = True) -> Snapshot:
        """The snapshot; `with_streams` says whether the queue's messages are wanted, too.

        Raises ApplianceError when an engine does not answer or the worker does not come to rest.
        """
        endpoints = resolve_endpoints(self._settings)
        work = ensure_folder(work_folder(self._settings, self._name))
        snapshot = await self._moment(endpoints, with_streams=with_streams)
        return await self._relational(endpoints, snapshot, work)

    async def _moment(self, endpoints: Endpoints, *, with_streams: bool) -> Snapshot:
        """Event store and queue between two inserts."""
        async with AsyncExitStack() as stack:
            title = "linking the event store and the queue"
            stack.enter_context(stage(self._progress, self._clock, "moment", title))
            hold = await stack.enter_async_context(worker_held(self._settings, self._clock))
            snapshot = Snapshot(
                name=self._name,
                point=self._clock.now().isoformat(timespec="milliseconds"),
                folders={},
            )
            if endpoints.clickhouse.external:
                snapshot = _without(snapshot, Part.CLICKHOUSE)
            else:
                snapshot = await self._events(endpoints, snapshot)
            if endpoints.nats.external:
                snapshot = _without(snapshot, Part.NATS)
            else:
                snapshot = await self._queue(endpoints, snapshot, with_streams=with_streams)
        return msgspec.structs.replace(snapshot, hold_seconds=round(hold.seconds, 3))

    async def _events(self, endpoints: Endpoints, snapshot: Snapshot) -> Snapshot:
        endpoint = endpoints.clickhouse
        await wait_for_inserts(endpoint)
        folder, tables = await freeze(endpoint, self._folders.clickhouse, self._name)
        answers = [
            Answer(
                part=Part.CLICKHOUSE,
                subject=question.subject,
                statement=question.statement,
                answer=await ask_clickhouse(endpoint, question.statement),
            )
            for question in await plan_questions(endpoint)
        ]
        return msgspec.structs.replace(
            snapshot,
            folders=snapshot.folders | {Part.CLICKHOUSE: folder},
            tables=tables,
            answers=(*snapshot.answers, *answers),
            schema=snapshot.schema | {"clickhouse": await schema_number(endpoint)},
        )

    async def _queue(
        self, endpoints: Endpoints, snapshot: Snapshot, *, with_streams: bool
    ) -> Snapshot:
        ledger = (await read_ledger(nats_door(endpoints.nats))).decode()
        snapshot = msgspec.structs.replace(snapshot, ledger=ledger)
        if not with_streams:
            return snapshot
        folder = self._folders.nats / self._name
        streams = await asyncio.to_thread(copy_streams, self._folders.nats, folder)
        return msgspec.structs.replace(
            snapshot, folders=snapshot.folders | {Part.NATS: folder}, streams=streams
        )

    async def _relational(self, endpoints: Endpoints, snapshot: Snapshot, work: Path) -> Snapshot:
        if endpoints.postgres.external:
            return _without(snapshot, Part.POSTGRES)
        folder = work / "postgres"
        home = postgres_home()
        with stage(self._progress, self._clock, "dump", "dumping the relational store"):
            facts = await dump_postgres(endpoints.postgres, folder, home=home, work=work)
        answers = [
            Answer(part=Part.POSTGRES, subject=table.name, statement="", answer=table.facts)
            for table in facts.tables
        ]
        names = await name_dump_files(folder, home=home)
        return msgspec.structs.replace(
            snapshot,
            folders=snapshot.folders | {Part.POSTGRES: folder},
            dump_names=names,
            answers=(*snapshot.answers, *answers),
            schema=snapshot.schema | {"postgres": facts.schema},
        )


def _without(snapshot: Snapshot, part: Part) -> Snapshot:
    return msgspec.structs.replace(snapshot, missing=(*snapshot.missing, part))
