"""Stores put back to an earlier moment come up to the queue again."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from appliance.base.clock import SystemClock
from appliance.base.tasks import poll
from appliance.config.model import Settings
from appliance.domain.people.erasure import StreamMark
from appliance.services.merging import Merging
from appliance.services.replay import MARK, Replay
from appliance.storage.postgres.queue_marks import load_mark, raise_versions, save_mark
from appliance.storage.streams.people import IDENTIFY_DURABLE, PROFILES_STREAM
from tests.integration.people.test_order import both_sides
from tests.support.naming_oracle import carry_out, make_calls
from tests.support.naming_stage import MINE, NamingStage, open_naming_stage

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CALLS = 60
WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def stage(engines: Settings, anyio_backend: str) -> AsyncGenerator[NamingStage]:
    async with open_naming_stage(engines) as opened:
        yield opened


async def end_of(stage: NamingStage) -> StreamMark:
    jetstream = await stage.stores.streams.jetstream()
    told = await jetstream.stream_info(PROFILES_STREAM)
    return StreamMark(life=str(told.created), sequence=told.state.last_seq)


async def put_back(stage: NamingStage) -> None:
    """Both stores as they were before anybody was named."""
    await stage.stores.postgres.execute("DELETE FROM profiles")
    for table in ("profiles", "profile_aliases"):
        await stage.stores.clickhouse.command(f"TRUNCATE TABLE {table}")


def replay(stage: NamingStage, *, trail_seconds: float = 0.0) -> Replay:
    merging = Merging(stage.stores, SystemClock())
    return Replay(
        stage.stores, merging, SystemClock(), tick_seconds=0.02, trail_seconds=trail_seconds
    )


@asynccontextmanager
async def following(stage: NamingStage, chosen: Replay) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    stretch = await chosen.plan()
    async with asyncio.TaskGroup() as group:
        group.create_task(chosen.run(stretch, stop))
        try:
            yield
        finally:
            stop.set()


@pytest.mark.parametrize("marked", [False, True])
async def test_what_was_acknowledged_since_is_in_force_again(
    stage: NamingStage, *, marked: bool
) -> None:
    """From the mark on, or from the beginning without one; erased persons stay away."""
    calls = make_calls(CALLS, seed=3, project=MINE)
    if marked:
        await save_mark(stage.stores.postgres, MARK, await end_of(stage))
    async with stage.working():
        await stage.hand_over(calls)
        await stage.until_idle()
    assert (await both_sides(stage))[1] == carry_out(calls, ())
    await put_back(stage)
    await stage.stores.postgres.execute(
        "INSERT INTO compliance_requests (id, project_id, kind, external_id, request_time)"
        " VALUES ('r', $1, 'erase', 'e1', now()), ('old', $1, 'erase', 'e2', '2026-01-01')",
        MINE,
    )
    wanted = carry_out([call for call in calls if call.external_id != "e1"], ())

    async def back() -> bool | None:
        try:
            return await both_sides(stage) == (wanted, wanted) or None
        except KeyError:
            return None

    async with stage.working():
        await poll(back, every_seconds=0.1, timeout_seconds=WAIT_SECONDS)
        assert await both_sides(stage) == (wanted, wanted)


async def test_nothing_before_the_mark_is_handled_again(stage: NamingStage) -> None:
    """The control: with the mark at the end, stores that lost everything stay empty."""
    async with stage.working():
        await stage.hand_over(make_calls(5, seed=3, project=MINE))
        await stage.until_idle()
    await put_back(stage)
    await save_mark(stage.stores.postgres, MARK, await end_of(stage))
    chosen = replay(stage)
    assert await chosen.catch_up(await chosen.plan()) == 0
    assert await stage.profiles() == []


async def test_the_mark_waits_for_both_stores(stage: NamingStage) -> None:
    """It moves when the read side has everything, not while its workers are behind."""
    async with stage.working("identify"):
        await stage.hand_over(make_calls(5, seed=3, project=MINE))
        await stage.until_idle(IDENTIFY_DURABLE)
    end = await end_of(stage)

    async def moved() -> bool | None:
        mark = await load_mark(stage.stores.postgres, MARK)
        return (mark is not None and mark.sequence >= 5) or None

    async with following(stage, replay(stage)):
        assert not await poll(moved, every_seconds=0.02, timeout_seconds=0.5)
        async with stage.working("alias", "upsert"):
            await stage.until_idle()
            assert await poll(moved, every_seconds=0.02, timeout_seconds=WAIT_SECONDS)
    mark = await load_mark(stage.stores.postgres, MARK)
    assert mark is not None
    assert mark.life == end.life


async def test_the_mark_trails_behind(stage: NamingStage) -> None:
    """Copies of the stores are not made in one instant: the mark is older than that."""
    async with stage.working():
        await stage.hand_over(make_calls(5, seed=3, project=MINE))
        await stage.until_idle()
    async with following(stage, replay(stage, trail_seconds=3600.0)):
        await asyncio.sleep(0.3)
    assert await load_mark(stage.stores.postgres, MARK) is None


async def test_versions_go_on_above_the_read_side(stage: NamingStage) -> None:
    """A relational store older than the event store does not count below what is shown."""
    async with stage.working():
        await stage.hand_over(make_calls(20, seed=3, project=MINE))
        await stage.until_idle()
    shown = await stage.stores.clickhouse.rows("SELECT max(version) FROM profiles")
    newest = int(str(shown[0][0]))
    await stage.stores.postgres.execute("SELECT setval('profile_versions', 1)")
    await save_mark(stage.stores.postgres, MARK, await end_of(stage))
    chosen = replay(stage)
    await chosen.catch_up(await chosen.plan())
    row = await stage.stores.postgres.row("SELECT nextval('profile_versions') AS next")
    assert row is not None
    assert int(str(row["next"])) > newest
    assert not await raise_versions(stage.stores.postgres, 1)
