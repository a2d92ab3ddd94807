"""The events worker: every accepted event once, in the raw table and in every roll-up."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

import msgspec
import pytest

from appliance.base.clock import SystemClock
from appliance.base.tasks import poll
from appliance.storage.clickhouse.inserts import INSERT_SETTINGS, Rollup
from appliance.storage.streams.block_ledger import (
    WANTED_KEY,
    BlockLedger,
    Position,
    Wanted,
)
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.kv import LEDGER_BUCKET, Bucket
from tests.support.pipeline import WAIT_SECONDS, Counts, Stage, Stopped, encode, make_events

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_events_arrive_once(stage: Stage) -> None:
    """Three messages are counted once by every table."""
    events = make_events(300)
    async with stage.working():
        for start in (0, 100, 200):
            await stage.publish(encode(events[start : start + 100]))
        await stage.expect(Counts.of(300))


async def test_block_of_many_months(stage: Stage) -> None:
    """One block may span more months than the engine's limit of parts per insert."""
    async with stage.working():
        await stage.publish(encode(make_events(400, months=200)))
        await stage.expect(Counts.of(400))


async def test_large_block_is_one_part_of_each_rollup(stage: Stage) -> None:
    """One statement is one block everywhere, on which settling relies."""
    events = make_events(20_000)
    for number, row in enumerate(events):
        row["distinct_id"] = f"user-{number}"
        row["pathname"] = f"/{number}"
    chunks = [encode(events[start : start + 500]) for start in range(0, 20_000, 500)]
    await stage.inserts.insert_events(chunks, token="one")
    rows = await stage.store.rows(
        "SELECT table, uniqExact(max_block_number) FROM system.parts "
        "WHERE database = currentDatabase() AND table IN {tables:Array(String)} GROUP BY table",
        {"tables": ["events", *Rollup]},
    )
    assert {str(table): number for table, number in rows} == dict.fromkeys(["events", *Rollup], 1)


async def test_repeated_batch_counts_once(stage: Stage) -> None:
    """The same events in other messages, orders and groups are counted once."""
    events = make_events(90)
    async with stage.working():
        await stage.publish(encode(events[:60]), message_id="a")
        await stage.publish(encode(events[:60]), message_id="a")
        await stage.expect(Counts.of(60))
        await stage.publish(encode(list(reversed(events[30:]))))
        await stage.expect(Counts.of(90))
        await stage.publish(encode(events[:10] + events[80:]))
        await stage.publish(encode(make_events(1, seed=9)))
        await stage.expect(Counts.of(91))


async def test_poison_is_isolated(stage: Stage) -> None:
    """A message that only the engine finds unreadable is a dead letter; neighbours are stored."""
    poison = encode([{**make_events(1, seed=7)[0], "bot_score": "many"}])
    garbled = b"this is not JSON"
    malformed = encode([{**make_events(1, seed=8)[0], "event_id": "x" * 36}])
    bad = [poison, garbled, malformed]
    for payload in (encode(make_events(10)), *bad, encode(make_events(10, seed=1))):
        await stage.publish(payload)
    async with stage.working():
        await stage.expect(Counts.of(20))
    letters = [letter async for letter in stage.dead_letters.summaries("events")]
    assert len(letters) == 3
    bodies = [(await stage.dead_letters.load("events", one.sequence))[1] for one in letters]
    assert sorted(bodies) == sorted(bad)
    first = letters[0].headers
    assert first["original_subject"] == "events.ingest"
    assert first["original_stream"] == "events"
    assert first["original_consumer"] == "events-writer-durable"
    assert first["project_id"] == "p1"
    assert first["worker"] == "events"
    assert first["error_reason"]


async def test_dead_letter_is_replayed(stage: Stage) -> None:
    """A dead letter goes back to its subject, and is counted once if it is healthy."""
    await stage.publish(b"x")
    async with stage.working():

        async def dead() -> int | None:
            found = [one.sequence async for one in stage.dead_letters.summaries("events")]
            return found[0] if found else None

        sequence = await poll(dead, every_seconds=0.02, timeout_seconds=WAIT_SECONDS)
        assert sequence is not None
        assert await stage.dead_letters.replay("events", sequence) == "events.ingest"
        again = await poll(dead, every_seconds=0.02, timeout_seconds=WAIT_SECONDS)
        assert again is not None
        assert again != sequence


async def test_lag_is_visible(stage: Stage) -> None:
    """The durable consumer of the contract is in step with what is stored."""
    async with stage.working() as writer:
        await stage.publish(encode(make_events(5)))
        await stage.expect(Counts.of(5))

        async def caught_up() -> bool | None:
            lag = await writer._reader.lag()
            return (lag.pending == 0 and lag.unacknowledged == 0) or None

        assert await poll(caught_up, every_seconds=0.02, timeout_seconds=WAIT_SECONDS)


async def test_stored_messages_are_trimmed(stage: Stage) -> None:
    """A busy stream keeps a bounded number of bytes, and never less than what is not stored."""
    writer = stage.writer(replay_bytes_max=100_000)
    jetstream = await stage.streams.jetstream()
    for seed in range(20):
        await stage.publish(encode(make_events(50, seed=seed)))
    assert (await jetstream.stream_info("events")).state.bytes > 200_000
    async with stage.working(writer):
        await stage.expect(Counts.of(1000))

        async def trimmed() -> bool | None:
            return (await jetstream.stream_info("events")).state.bytes <= 100_000 or None

        assert await poll(trimmed, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
        await stage.publish(encode(make_events(10, seed=99)))
        await stage.expect(Counts.of(1010))


@pytest.mark.parametrize("wanted_by_a_restore_point", [False, True])
async def test_a_full_queue_gets_room_without_another_message(
    stage: Stage, wanted_by_a_restore_point: bool
) -> None:
    """What is stored makes way although nothing more comes, because nothing more is taken."""
    budget = 240_000
    writer = stage.writer(queue_bytes_max=budget, trim_seconds=0.1)
    jetstream = await stage.streams.jetstream()
    if wanted_by_a_restore_point:
        until = SystemClock().now().timestamp() + 600
        wanted = Wanted(first=1, until=until, bytes_max=1 << 30)
        await Bucket(stage.streams, LEDGER_BUCKET).put(WANTED_KEY, msgspec.json.encode(wanted))
    for seed in range(30):
        await stage.publish(encode(make_events(50, seed=seed)))
    assert (await jetstream.stream_info("events")).state.bytes > budget
    async with stage.working(writer):
        await stage.expect(Counts.of(1500))

        async def roomy() -> bool | None:
            return (await jetstream.stream_info("events")).state.bytes <= budget // 2 or None

        assert await poll(roomy, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
    await Bucket(stage.streams, LEDGER_BUCKET).put(
        WANTED_KEY, msgspec.json.encode(Wanted(first=1, until=1.0, bytes_max=1))
    )


async def test_what_a_restore_point_wants_is_spared(stage: Stage) -> None:
    """From its first message on, while the stream fits the disk and the point is young."""
    writer = stage.writer(replay_bytes_max=100_000)
    jetstream = await stage.streams.jetstream()
    for seed in range(20):
        await stage.publish(encode(make_events(50, seed=seed)))
    first = (await jetstream.stream_info("events")).state.first_seq
    until = SystemClock().now().timestamp() + 600
    wanted = Wanted(first=first + 5, until=until, bytes_max=1 << 30)
    await Bucket(stage.streams, LEDGER_BUCKET).put(WANTED_KEY, msgspec.json.encode(wanted))
    async with stage.working(writer):
        await stage.expect(Counts.of(1000))

        async def trimmed() -> bool | None:
            return (await jetstream.stream_info("events")).state.messages == 15 or None

        assert await poll(trimmed, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
    wanted = msgspec.structs.replace(wanted, until=1.0)
    await Bucket(stage.streams, LEDGER_BUCKET).put(WANTED_KEY, msgspec.json.encode(wanted))


class Point(Stopped):
    """Inserts that stop before or after the first one."""

    def __init__(self, stage: Stage, *, after: bool) -> None:
        super().__init__(stage.store)
        self._after = after

    async def insert_events(self, chunks: Iterable[bytes], *, token: str) -> None:
        if self._after:
            await super().insert_events(chunks, token=token)
        await self.stop()


@pytest.mark.parametrize("after", [False, True], ids=["before insert", "after insert"])
async def test_crash_around_the_insert(stage: Stage, *, after: bool) -> None:
    """A worker killed before or after its insert loses nothing and counts nothing twice."""
    await stage.publish(encode(make_events(50, months=3)))
    point = Point(stage, after=after)
    await stage.crash(point)
    assert await stage.counts() == (Counts.of(50) if after else Counts.of(0))
    async with stage.working():
        await stage.publish(encode(make_events(10, seed=1)))
        await stage.expect(Counts.of(60))


async def test_crash_control_arm(stage: Stage) -> None:
    """Control: inserting a block again without token and without looking counts it twice."""
    chunks = [encode(make_events(50))]
    for _ in range(2):
        await stage.store.insert_ndjson(
            "events", chunks, {**INSERT_SETTINGS, "insert_deduplicate": 0}
        )
    counted = await stage.counts()
    assert (counted.daily, counted.sessions, counted.names) == (100, 100, 100)


@pytest.mark.parametrize("rollup", list(Rollup))
async def test_half_stored_block_is_completed(stage: Stage, rollup: Rollup) -> None:
    """A block that reached the raw table but not one roll-up is added to that roll-up only."""
    await stage.publish(encode(make_events(40, months=3)))
    feed = f"{rollup.value}_feed"
    made = await stage.store.rows(
        "SELECT create_table_query FROM system.tables "
        "WHERE database = currentDatabase() AND name = {name:String}",
        {"name": feed},
    )
    await stage.store.command("DROP VIEW {name:Identifier} SYNC", {"name": feed})
    point = Point(stage, after=True)
    await stage.crash(point)
    await stage.store.command(str(made[0][0]))  # type: ignore[arg-type]
    assert await stage.counts() != Counts.of(40)
    async with stage.working():
        await stage.expect(Counts.of(40))


async def test_missing_month_is_completed(stage: Stage) -> None:
    """A block of which one month's raw part is missing gets just that, and no roll-up twice."""
    await stage.publish(encode(make_events(60, months=3)))
    point = Point(stage, after=True)
    await stage.crash(point)
    await stage.store.command("ALTER TABLE events DROP PARTITION 202611")
    assert 0 < (await stage.counts()).raw < 60
    async with stage.working():
        await stage.expect(Counts.of(60))


class Ghost(Stopped):
    """An engine whose deduplication log knows the first token although no rows came.

    That is what a kill between the log's write and the part's rename leaves behind.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.store)
        self.stage = stage

    async def insert_events(self, chunks: Iterable[bytes], *, token: str) -> None:
        del chunks
        number, _, repairs = token.partition(".")
        for later in (0, 1):
            await super().insert_events(
                [encode(make_events(30, seed=later + 5))], token=f"{number}.{int(repairs) + later}"
            )
        for table in ("events", *Rollup):
            await self.stage.store.command("TRUNCATE TABLE {t:Identifier}", {"t": table})
        await self.stop()


async def test_ghost_in_the_deduplication_log(stage: Stage) -> None:
    """What the engine confirms and does not keep is inserted again under another token."""
    events = make_events(30)
    await stage.publish(encode(events))
    ghost = Ghost(stage)
    await stage.crash(ghost)
    async with stage.working():
        await stage.expect(Counts.of(30))


async def test_two_workers(stage: Stage) -> None:
    """Of two workers one makes progress; what they store together is counted once."""
    other = Streams(stage.endpoints.nats, name="pug-test-2")
    try:
        async with stage.working(), stage.working(stage.writer(streams=other, rows_max=70)):
            for seed in range(20):
                await stage.publish(encode(make_events(50, seed=seed)))
            await stage.expect(Counts.of(1000))
    finally:
        await other.close()


class LostAnswer(BlockLedger):
    """A ledger whose third write arrives although its answer is lost."""

    writes = 0

    async def record(self, position: Position) -> None:
        LostAnswer.writes += 1
        before = self._revision
        await super().record(position)
        if LostAnswer.writes == 3:
            self._revision = before


async def test_lost_answer_of_the_ledger(stage: Stage) -> None:
    """A ledger write whose answer was lost is recognised as ours and settled."""
    LostAnswer.writes = 0
    async with stage.working(stage.writer(ledger=LostAnswer)):
        for seed in range(6):
            await stage.publish(encode(make_events(10, seed=seed)))
            await stage.expect(Counts.of(10 * (seed + 1)))
    assert LostAnswer.writes > 3


async def test_running_insert_is_seen(stage: Stage) -> None:
    """An insert that still runs is seen by its token, so settling can wait for its end."""
    gate, started = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncGenerator[bytes]:
        for row in make_events(2):
            yield encode([row])
            started.set()
            await gate.wait()

    client = await stage.store._opened()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            client.raw_insert(
                "events",
                insert_block=slowly(),
                settings={**INSERT_SETTINGS, "insert_deduplication_token": "77.0"},
                fmt="JSONEachRow",
            )
        )
        await started.wait()

        async def seen() -> bool | None:
            return await stage.inserts.count_running("77.") == 1 or None

        try:
            assert await poll(seen, every_seconds=0.02, timeout_seconds=WAIT_SECONDS)
            assert await stage.inserts.count_running("78.") == 0
        finally:
            gate.set()
    assert await stage.inserts.count_running("77.") == 0
