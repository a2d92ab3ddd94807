"""The demo's project: made once, filled once, alive from then on, open to nobody else."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from appliance.base.tasks import poll
from appliance.config.model import DemoSettings, Settings
from appliance.domain.access.roles import Role
from appliance.gen.public.auth.v1.auth_pb import DemoSignInRequest
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.demo_project import DemoProject
from appliance.storage.streams.publish import EVENTS_STREAM
from appliance.workers.demo import Traffic, demo_duty
from tests.support.clocks import FixedClock
from tests.support.control import ControlStack, Refusal, control_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

QUERY = "shared.insights.v1.InsightsService/Query"
SIGN_IN = "public.auth.v1.AuthService/DemoSignIn"
NOON = datetime(2026, 5, 13, 12, 30, tzinfo=UTC)
EVENTS = 600


@pytest.fixture
async def stage(engines: Settings) -> AsyncGenerator[ControlStack]:
    demo = DemoSettings(enabled=True, seed_events=EVENTS, seed_batch_events=250)
    settings = Settings(data_dir=engines.data_dir, demo=demo)
    async with control_stack(engines, settings, FixedClock(NOON), own_events=True) as control:
        jetstream = await control.services.stores.streams.jetstream()
        await jetstream.purge_stream(EVENTS_STREAM)
        yield control


def project(stage: ControlStack) -> DemoProject:
    settings = DemoSettings(enabled=True, seed_events=EVENTS, seed_batch_events=250)
    return DemoProject(stage.services, settings, clock=stage.clock, ids=stage._ids)


async def store_what_waits(stage: ControlStack) -> int:
    """Move the queue into the event store, as its worker does; how many rows."""
    jetstream = await stage.services.stores.streams.jetstream()
    state = (await jetstream.stream_info(EVENTS_STREAM)).state
    rows: list[bytes] = []
    for sequence in range(state.first_seq, state.last_seq + 1):
        message = await jetstream.get_msg(EVENTS_STREAM, seq=sequence)
        rows += [line + b"\n" for line in (message.data or b"").split(b"\n") if line]
    await stage.services.stores.clickhouse.insert_ndjson("events", [b"".join(rows)], {})
    await jetstream.purge_stream(EVENTS_STREAM)
    return len(rows)


async def test_made_once_and_filled_once(stage: ControlStack) -> None:
    """Every start finds what the first one made; the visitor may read, and has no password."""
    demo = project(stage)
    shop = await demo.ensure()
    assert shop is not None
    assert await demo.ensure() == shop
    taken = await demo.back_fill(shop)
    assert EVENTS * 0.7 < taken < EVENTS * 1.5
    assert await store_what_waits(stage) == taken
    assert await demo.back_fill(shop) == 0
    told = await stage.call(SIGN_IN, DemoSignInRequest())
    assert told.project_id == shop.project_id
    row = await stage.database.row(
        "SELECT c.password_hash, m.role FROM customers c JOIN org_members m ON m.customer_id = c.id"
    )
    assert row is not None
    assert (row["password_hash"], row["role"]) == ("", Role.VIEWER.stored)


async def test_every_tile_of_the_board_shows_something(stage: ControlStack) -> None:
    """The board is asked as a visitor would ask it."""
    demo = project(stage)
    shop = await demo.ensure()
    assert shop is not None
    await demo.back_fill(shop)
    await store_what_waits(stage)
    token = (await stage.call(SIGN_IN, DemoSignInRequest())).token
    (board,) = await stage.services.dashboards.boards.list_all(shop.project_id)
    asked = [tile.content.insight_query for tile in board.tiles if tile.content.insight_query]
    assert len(asked) == len(board.tiles) - 1
    for query in asked:
        message = {
            "spec": json.loads(query),
            "granularity": "GRANULARITY_DAY",
            "timeRange": {
                "from": (NOON - timedelta(days=130)).isoformat(),
                "to": NOON.isoformat(),
            },
        }
        request = QueryRequest.from_json(json.dumps(message))
        answer = await stage.call(QUERY, request, token=token, project=shop.project_id)
        assert answer.result is not None


async def test_an_interrupted_fill_stays(stage: ControlStack) -> None:
    """Filling again would count events twice."""
    demo = project(stage)
    shop = await demo.ensure()
    assert shop is not None
    await demo.back_fill(shop)
    await store_what_waits(stage)
    await stage.services.stores.clickhouse.command(
        "DELETE FROM events WHERE cityHash64(event_id) % 2 = 0"
    )
    assert 0 < await demo.count(shop) < EVENTS
    assert await demo.back_fill(shop) == 0


async def test_somebody_elses_account_is_not_touched(stage: ControlStack) -> None:
    """An administrator with that address stays one, and there is no demo."""
    org = await stage.make_org()
    person = await stage.make_person(DemoSettings().viewer_email)
    await stage.join(person, org, Role.ADMIN)
    await stage.make_project(org)
    assert await project(stage).ensure() is None
    with pytest.raises(Refusal) as refused:
        await stage.call(SIGN_IN, DemoSignInRequest())
    assert refused.value.code == "unavailable"


async def test_visitors_come_by_day_and_by_night(stage: ControlStack) -> None:
    """Each event is sent when its time has come, never before; the clock makes the traffic."""
    demo = project(stage)
    shop = await demo.ensure()
    assert shop is not None
    traffic = Traffic(demo, 60.0, stage.clock)
    sent = 0
    for _ in range(120):
        sent += await traffic.send_due(shop)
        assert 0 < traffic.seconds_to_next() <= 1
        stage.clock.advance(5)
    assert sent > 100
    assert await store_what_waits(stage) == sent
    ((latest,),) = await stage.services.stores.clickhouse.rows("SELECT max(occur_time) FROM events")
    assert latest.replace(tzinfo=UTC) <= stage.clock.now()


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_duty_does_nothing_when_it_is_off(stage: ControlStack, *, enabled: bool) -> None:
    """Off it idles until it is told to stop; on it fills and goes on."""
    settings = DemoSettings(enabled=enabled, seed_events=EVENTS)
    duty = demo_duty(stage.services, Settings(demo=settings), stage.clock)
    stop = asyncio.Event()
    running = asyncio.ensure_future(duty.run(stop))

    async def filled() -> bool | None:
        return duty.state.rows > 0 or None

    seen = await poll(filled, every_seconds=0.05, timeout_seconds=60 if enabled else 0.5)
    stop.set()
    await running
    assert bool(seen) is enabled
    made = await stage.database.row("SELECT count(*) AS number FROM projects")
    assert made is not None
    assert made["number"] == int(enabled)
