"""Erasures on real stores: people with traces everywhere, and what is left of them.

Invariant: PostgreSQL schema and ClickHouse database are nobody else's, the streams are emptied; a
clock that moves, because events pass a real worker.
"""

import uuid
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import nats.js.errors

from appliance.base.clock import SystemClock
from appliance.base.ids import IdMaker
from appliance.config.model import Settings
from appliance.domain.access.callers import Actor, ActorKind
from appliance.services.audit import AuditLog
from appliance.services.erasing import Eraser
from appliance.services.erasure import ErasureService
from appliance.services.erasure_journal import ErasureJournal
from appliance.storage.clickhouse.inserts import INSERT_SETTINGS
from appliance.storage.postgres.erasure import load_erasure
from appliance.storage.streams.block_ledger import LEDGER_KEY
from appliance.storage.streams.connection import Streams
from tests.support.jobs import JobStage, job_stage
from tests.support.pipeline import Stage, encode

STREAMS = ("events", "profiles", "compliance", "dlq-events", "dlq-profiles", "dlq-compliance")
OPERATOR = Actor(kind=ActorKind.OPERATOR, label="test")
PERSON_TABLES = {
    "events": "distinct_id",
    "distinct_id_activity_states": "distinct_id",
    "profiles": "id",
    "profile_aliases": "profile_id",
}


class ErasureStage:
    """Stores of one test, one project, and both halves of erasing."""

    def __init__(self, jobs: JobStage, project: str, folder: Path) -> None:
        self.jobs = jobs
        self.project = project
        self.database = jobs.database
        self.events = jobs.events
        self.pipeline = Stage(jobs.endpoints)
        self.clock = SystemClock()
        self.ids = IdMaker(self.clock)
        self.journal_folder = folder
        self.journal = ErasureJournal(folder)
        self.service = ErasureService(
            jobs.stores, AuditLog(self.clock, self.ids), clock=self.clock, ids=self.ids
        )
        self._version = 0

    def eraser(self, *, wait_seconds_max: float = 20.0) -> Eraser:
        return Eraser(
            self.jobs.stores,
            self.events,
            self.journal,
            self.clock,
            wait_seconds_max=wait_seconds_max,
        )

    async def request(
        self,
        *,
        profile_id: str = "",
        external_id: str = "",
        request_id: str = "",
        **columns: object,
    ) -> str:
        """A row of the ledger as it stands; the default is a pending erasure."""
        chosen = {"kind": "erase", "status": "pending", **columns}
        identity = request_id or self.ids.make()
        complete = "now()" if chosen["status"] == "completed" else "NULL"
        await self.database.execute(
            "INSERT INTO compliance_requests (id, project_id, kind, profile_id, external_id,"
            " status, distinct_ids, session_ids, error, complete_time)"
            f" VALUES ($1, $2, $3, NULLIF($4, ''), NULLIF($5, ''), $6, $7, $8, $9, {complete})",
            identity,
            columns.get("project") or self.project,
            chosen["kind"],
            profile_id,
            external_id,
            chosen["status"],
            columns.get("distinct_ids"),
            columns.get("session_ids"),
            columns.get("error"),
        )
        return identity

    async def add_profile(
        self, profile_id: str, external_id: str = "", *, deleted: bool = False, read: bool = True
    ) -> None:
        """A profile in both stores, with a device."""
        await self.database.execute(
            "INSERT INTO profiles (id, project_id, external_id, properties, delete_time)"
            " VALUES ($1, $2, NULLIF($3, ''), '{\"plan\": \"pro\"}',"
            " CASE WHEN $4 THEN now() END)",
            *(profile_id, self.project, external_id, deleted),
        )
        await self.database.execute(
            "INSERT INTO profile_devices (project_id, device_id, platform, profile_id, push_token)"
            " VALUES ($1, $2, 'ios', $3, 'token')",
            *(self.project, f"d-{profile_id}"[:36], profile_id),
        )
        if read:
            await self.add_read_profile(profile_id, external_id)

    async def add_read_profile(self, profile_id: str, external_id: str = "") -> None:
        self._version += 1
        await self._insert(
            "profiles",
            {
                "project_id": self.project,
                "id": profile_id,
                "external_id": external_id,
                "properties": '{"plan": "pro"}',
                "deleted": False,
                "create_time": "2026-01-01 00:00:00",
                "update_time": "2026-01-01 00:00:00",
                "version": self._version,
            },
        )

    async def add_alias(self, alias: str, profile_id: str, external_id: str = "e") -> None:
        self._version += 1
        await self._insert(
            "profile_aliases",
            {
                "project_id": self.project,
                "alias_id": alias,
                "profile_id": profile_id,
                "external_id": external_id,
                "version": self._version,
            },
        )

    def rows(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        project: str = "",
        at: str = "2026-11-20 12:00:00",
    ) -> list[dict[str, object]]:
        """Rows of events: distinct id and session word."""
        return [
            {
                "event_id": str(uuid.uuid4()),
                "project_id": project or self.project,
                "distinct_id": distinct_id,
                "session_id": session_of(session),
                "kind": "page_view",
                "occur_time": at,
                "country": "AT",
                "custom_properties": {"plan": "spro"},
            }
            for distinct_id, session in pairs
        ]

    async def add_events(self, pairs: Iterable[tuple[str, str]], *, project: str = "") -> None:
        rows = self.rows(pairs, project=project)
        if rows:
            await self.events.insert_ndjson("events", [encode(rows)], INSERT_SETTINGS)

    async def distinct_ids(self, table: str = "events") -> list[str]:
        """The distinct ids (or keys) that are left in a table of the event store."""
        column = PERSON_TABLES[table]
        found = await self.events.rows(
            f"SELECT DISTINCT {column} FROM {table} WHERE project_id = {{p:String}} ORDER BY 1",  # type: ignore[arg-type]
            {"p": self.project},
        )
        return [str(one) for (one,) in found]

    async def sessions(self) -> set[str]:
        found = await self.events.rows(
            "SELECT DISTINCT toString(session_id) FROM dashboard_session_rollup"
            " WHERE project_id = {p:String}",
            {"p": self.project},
        )
        return {str(one) for (one,) in found}

    async def view(self, request_id: str):
        return await load_erasure(self.database, request_id)

    async def messages(self, stream: str) -> list[bytes]:
        """The payloads that a stream holds."""
        jetstream = await self.jobs.streams.jetstream()
        state = (await jetstream.stream_info(stream)).state
        found: list[bytes] = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            with suppress(nats.js.errors.NotFoundError):
                found.append((await jetstream.get_msg(stream, seq=sequence)).data or b"")
        return found

    async def close(self) -> None:
        await self.pipeline.close()

    async def _insert(self, table: str, row: dict[str, object]) -> None:
        await self.events.insert_ndjson(table, [msgspec.json.encode(row)], {"async_insert": 0})  # type: ignore[arg-type]


def session_of(word: str) -> str:
    """The session of a word like `s1`."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, word))


def sessions_of(words: Sequence[str]) -> set[str]:
    return {session_of(word) for word in words}


async def empty_queues(streams: Streams) -> None:
    """Take away what other tests left: an erasure waits for everything queued before it."""
    jetstream = await streams.jetstream()
    for name in STREAMS:
        await jetstream.purge_stream(name)
    with suppress(nats.js.errors.NotFoundError):
        await jetstream.purge_stream("KV_ledger", subject=f"$KV.ledger.{LEDGER_KEY}")


@asynccontextmanager
async def open_erasure_stage(engines: Settings, folder: Path) -> AsyncGenerator[ErasureStage]:
    """A stage on running engines with empty streams."""
    async with job_stage(engines) as jobs:
        await empty_queues(jobs.streams)
        project = await jobs.make_project(await jobs.make_org())
        stage = ErasureStage(jobs, project, folder)
        try:
            yield stage
        finally:
            await stage.close()
