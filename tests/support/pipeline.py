"""The way from queue to event store on a stage of its own: real engines, a fresh database.

Invariant: each stage empties the queue and takes a ClickHouse database nobody else uses, so tests
share engines and nothing else.
"""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import msgspec
import nats.js.errors

from appliance.base.clock import SystemClock
from appliance.base.errors import ApplianceError
from appliance.base.tasks import poll
from appliance.base.units import Seconds
from appliance.config.endpoints import Endpoints, resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.inserts import EventInserts
from appliance.storage.migrate import migrate_clickhouse, migrate_nats
from appliance.storage.streams.block_ledger import LEDGER_KEY, BlockLedger
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.consume import LogReader
from appliance.storage.streams.deadletters import DeadLetters
from appliance.storage.streams.publish import (
    EVENTS_DURABLE,
    EVENTS_STREAM,
    EVENTS_SUBJECT,
    PROJECT_HEADER,
    Publisher,
)
from appliance.workers.events import TRIM_SECONDS, EventsWriter, Limits
from appliance.workers.state import WorkerState

WAIT_SECONDS = 60.0
EVERY_SECONDS = 0.02
KINDS = ("page_view", "click", "purchase")
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Counts(msgspec.Struct, frozen=True):
    """How often events are counted, by each table that counts them."""

    raw: int
    daily: int
    country: int
    sessions: int
    activity: int
    names: int
    properties: int

    @classmethod
    def of(cls, number: int) -> "Counts":
        """Every table counts each of `number` events of `make_events` once."""
        return cls(number, number, number, number, number, number, number)


_COUNTS = """
SELECT
    (SELECT count() FROM events),
    (SELECT sum(event_count) FROM dashboard_event_rollup_daily WHERE dimension = '$__total__'),
    (SELECT sum(event_count) FROM dashboard_event_rollup_daily WHERE dimension = '$country'),
    (SELECT sum(event_count) FROM dashboard_session_rollup WHERE scope = ''),
    (SELECT sum(event_count) FROM distinct_id_activity_states),
    (SELECT sum(event_count) FROM event_names),
    (SELECT sum(event_count) FROM property_keys_event_buckets WHERE key = 'plan')
"""


def make_events(
    number: int, *, seed: int = 0, months: int = 1, project: str = "p1"
) -> list[dict[str, object]]:
    """Invented rows, the same for the same seed, spread over `months` UTC months."""
    chance = random.Random(seed)
    return [
        {
            "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            "project_id": project,
            "distinct_id": f"user-{chance.randrange(20)}",
            "session_id": str(uuid.UUID(int=chance.randrange(30), version=4)),
            "kind": chance.choice(KINDS),
            "occur_time": (
                START
                - timedelta(days=31 * chance.randrange(months))
                + timedelta(milliseconds=chance.randrange(3_600_000))
            ).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
            "country": chance.choice(("AT", "DE")),
            "custom_properties": {"plan": "spro"},
        }
        for _ in range(number)
    ]


def encode(rows: Sequence[dict[str, object]]) -> bytes:
    """Rows as the payload of one queue message."""
    return b"\n".join(json.dumps(row).encode() for row in rows) + b"\n"


class Stopped(EventInserts):
    """Event inserts that stop for ever at a chosen point."""

    def __init__(self, store: ClickHouse) -> None:
        super().__init__(store)
        self.reached = asyncio.Event()

    async def stop(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


class Stage:
    """Everything around the events worker, for one test."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.streams = Streams(endpoints.nats, name="pug-test")
        self.publisher = Publisher(self.streams)
        self.dead_letters = DeadLetters(self.streams)
        self.store = ClickHouse(endpoints.clickhouse)
        self.inserts = EventInserts(self.store)

    async def publish(self, payload: bytes, *, message_id: str | None = None) -> None:
        await self.publisher.publish(
            EVENTS_SUBJECT, payload, message_id=message_id, headers={PROJECT_HEADER: "p1"}
        )

    async def counts(self) -> Counts:
        return Counts(*(int(str(value)) for value in (await self.store.rows(_COUNTS))[0]))

    async def expect(self, wanted: Counts) -> None:
        """Wait until the tables count so; what they say at the end is the failure's text."""

        async def reached() -> bool | None:
            try:
                return await self.counts() == wanted or None
            except ApplianceError:
                return None  # an engine that was killed is on its way back

        await poll(reached, every_seconds=EVERY_SECONDS, timeout_seconds=WAIT_SECONDS)
        assert await self.counts() == wanted

    def writer(
        self,
        *,
        inserts: EventInserts | None = None,
        ledger: type[BlockLedger] = BlockLedger,
        rows_max: int = 50_000,
        streams: Streams | None = None,
        replay_bytes_max: int = 1 << 30,
        queue_bytes_max: int | None = None,
        trim_seconds: float = TRIM_SECONDS,
    ) -> EventsWriter:
        owner = uuid.uuid4().hex
        clock = SystemClock()
        chosen = streams or self.streams
        return EventsWriter(
            reader=LogReader(chosen, clock, stream=EVENTS_STREAM, durable=EVENTS_DURABLE),
            ledger=ledger(chosen, owner=owner, stream=EVENTS_STREAM),
            inserts=inserts or self.inserts,
            dead_letters=DeadLetters(chosen),
            clock=clock,
            limits=Limits(
                rows_max=rows_max,
                wait=Seconds(0.05),
                replay_bytes_max=replay_bytes_max,
                queue_bytes_max=queue_bytes_max,
                trim_seconds=trim_seconds,
            ),
            state=WorkerState(name="events"),
            owner=owner,
        )

    @asynccontextmanager
    async def working(self, writer: EventsWriter | None = None) -> AsyncGenerator[EventsWriter]:
        """A worker for the length of a block; it drains at the end."""
        chosen = writer or self.writer()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(chosen.run(stop))
            try:
                yield chosen
            finally:
                stop.set()

    async def crash(self, point: Stopped) -> None:
        """Run a worker, abandon it where its inserts stop, cut its connection: as a kill does."""
        streams = Streams(self.endpoints.nats, name="pug-test-killed")
        try:
            async with asyncio.TaskGroup() as group:
                writer = self.writer(inserts=point, streams=streams)
                task = group.create_task(writer.run(asyncio.Event()))
                async with asyncio.timeout(WAIT_SECONDS):
                    await point.reached.wait()
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        finally:
            await streams.close()

    async def close(self) -> None:
        await self.store.close()
        await self.streams.close()


@asynccontextmanager
async def open_stage(settings: Settings) -> AsyncGenerator[Stage]:
    """A stage on these engines with an empty queue and an empty event store."""
    found = resolve_endpoints(settings)
    database = f"t{uuid.uuid4().hex[:12]}"
    endpoints = msgspec.structs.replace(
        found, clickhouse=msgspec.structs.replace(found.clickhouse, database=database)
    )
    stage = Stage(endpoints)
    try:
        await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)
        await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)
        jetstream = await stage.streams.jetstream()
        for name in ("events", "dlq-events"):
            await jetstream.purge_stream(name)
        with suppress(nats.js.errors.NotFoundError):
            await jetstream.purge_stream("KV_ledger", subject=f"$KV.ledger.{LEDGER_KEY}")
        yield stage
    finally:
        await stage.store.command("DROP DATABASE IF EXISTS {name:Identifier}", {"name": database})
        await stage.close()
