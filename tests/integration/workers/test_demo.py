"""The demo's project: made once, filled once, alive from then on, open to nobody else."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from appliance.base.tasks import poll
from appliance.config.model import DemoSettings, Settings
from appliance.domain.access.callers import Actor, ActorKind
from appliance.domain.access.roles import Role
from appliance.domain.people.messages import Identification, read_identification
from appliance.domain.shop.shoppers import number_of, shopper, traits_of
from appliance.domain.shop.visits import bot_visit
from appliance.gen.public.auth.v1.auth_pb import DemoSignInRequest
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.demo_boards import BOARDS, drafts
from appliance.services.demo_project import DemoProject, sender_of
from appliance.storage.streams.people import PROFILES_STREAM
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
        for stream in (EVENTS_STREAM, PROFILES_STREAM):
            await jetstream.purge_stream(stream)
        yield control


def project(stage: ControlStack, *, events: int = EVENTS) -> DemoProject:
    settings = DemoSettings(enabled=True, seed_events=events, seed_batch_events=250)
    return DemoProject(stage.services, settings, clock=stage.clock, ids=stage._ids)


async def told_people(stage: ControlStack) -> list[Identification]:
    """Take the calls that name people off their queue."""
    jetstream = await stage.services.stores.streams.jetstream()
    state = (await jetstream.stream_info(PROFILES_STREAM)).state
    found = [
        await jetstream.get_msg(PROFILES_STREAM, seq=sequence)
        for sequence in range(state.first_seq, state.last_seq + 1)
    ]
    await jetstream.purge_stream(PROFILES_STREAM)
    sent = (ProfileIdentifyMessage.from_binary(message.data or b"") for message in found)
    return [read_identification(message, now=NOON) for message in sent]


async def ids_of_events(stage: ControlStack) -> set[str]:
    rows = await stage.services.stores.clickhouse.rows("SELECT DISTINCT distinct_id FROM events")
    return {str(name) for (name,) in rows}


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
    assert EVENTS <= taken < EVENTS * 1.2
    assert await store_what_waits(stage) == taken
    assert await demo.back_fill(shop) == 0
    told = await stage.call(SIGN_IN, DemoSignInRequest())
    assert told.project_id == shop.project_id
    row = await stage.database.row(
        "SELECT c.password_hash, m.role FROM customers c JOIN org_members m ON m.customer_id = c.id"
    )
    assert row is not None
    assert (row["password_hash"], row["role"]) == ("", Role.VIEWER.stored)


async def test_every_tile_of_the_boards_shows_something(stage: ControlStack) -> None:
    """The boards are asked as a visitor would ask them."""
    demo = project(stage)
    shop = await demo.ensure()
    assert shop is not None
    await demo.back_fill(shop)
    await store_what_waits(stage)
    token = (await stage.call(SIGN_IN, DemoSignInRequest())).token
    boards = await stage.services.dashboards.boards.list_all(shop.project_id)
    assert len(boards) == 4
    asked = []
    for board in boards:
        found = [tile.content.insight_query for tile in board.tiles if tile.content.insight_query]
        assert len(found) == len(board.tiles) - 1
        assert 5 <= len(board.tiles) <= 9
        asked += found
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


async def test_nobody_is_named_without_events(stage: ControlStack) -> None:
    """Those who said who they are are told, once, with the id their client made."""
    demo = project(stage, events=8000)
    shop = await demo.ensure()
    assert shop is not None
    await demo.back_fill(shop)
    await store_what_waits(stage)
    ids = await ids_of_events(stage)
    calls = await told_people(stage)
    assert {call.project_id for call in calls} == {shop.project_id}
    told = {number_of(call.external_id): call for call in calls}
    assert len(told) == len(calls) > 10
    seen = {number for name in ids if (number := number_of(name)) is not None}
    now_ms = int(NOON.timestamp() * 1000)
    named = {n for n in seen if (at := shopper(n).named_ms) is not None and at <= now_ms}
    assert set(told) == named < seen
    for number, call in told.items():
        assert number is not None
        who = shopper(number)
        assert call.anonymous_id == who.stranger_id
        assert call.traits == traits_of(who)
        assert call.accepted_at <= 1000 * now_ms
    late = {number for number in told if number is not None and shopper(number).was_stranger}
    assert {name for name in ids if name.startswith("cust_")} <= {
        shopper(number).external_id for number in late
    }


async def test_people_are_told_again_when_none_of_them_arrived(stage: ControlStack) -> None:
    """The process ended between the events and the people; a start with people tells nobody."""
    demo = project(stage)
    shop = await demo.ensure()
    assert shop is not None
    await demo.back_fill(shop)
    await store_what_waits(stage)
    first = {call.external_id for call in await told_people(stage)}
    assert await project(stage).back_fill(shop) == 0
    again = {call.external_id for call in await told_people(stage)}
    assert again == first
    person = {"project_id": shop.project_id, "id": "P", "external_id": "x", "version": 1}
    await stage.services.stores.clickhouse.insert_ndjson(
        "profiles", [json.dumps({**person, "properties": "{}"}).encode()], {}
    )
    assert await project(stage).back_fill(shop) == 0
    assert await told_people(stage) == []


async def test_bots_are_known_by_their_score(stage: ControlStack) -> None:
    """The score comes with the request, as from the network in front of a shop."""
    demo = project(stage)
    shop = await demo.ensure()
    assert shop is not None
    sent = 0
    for number in range(20):
        visit = bot_visit(f"{number}", int(NOON.timestamp() * 1000) - 60_000)
        sent += await demo.send(shop, visit.events, sender_of(visit))
    human = demo.crowd.visit("human", int(NOON.timestamp() * 1000) - 3_600_000)
    assert human is not None
    sent += await demo.send(shop, human.events, sender_of(human))
    assert await store_what_waits(stage) == sent
    rows = await stage.services.stores.clickhouse.rows(
        "SELECT startsWith(distinct_id, 'bot-'), min(bot_score), max(bot_score),"
        " uniqExact(verified_bot), countIf(channel = '') FROM events GROUP BY 1 ORDER BY 1"
    )
    (is_bot, low, high, _, _), (_, lowest, highest, kinds, unassigned) = rows
    assert (is_bot, kinds, unassigned) == (0, 2, 0)
    assert 70 <= int(str(low)) <= int(str(high)) <= 99
    assert 1 <= int(str(lowest)) <= int(str(highest)) <= 28


async def test_boards_take_their_form_again(stage: ControlStack) -> None:
    """What somebody changed is put back, tiles keep their ids, other boards stay."""
    shop = await project(stage).ensure()
    assert shop is not None
    boards = stage.services.dashboards.boards
    before = await boards.list_all(shop.project_id)
    first = before[0]
    await boards.upsert(
        shop.project_id, first.row.id, BOARDS[0].settings, drafts(BOARDS[0], {})[:3]
    )
    own = await boards.create(
        shop.project_id,
        replace(BOARDS[0].settings, display_name="Mine"),
        actor=Actor(kind=ActorKind.SYSTEM, label="test"),
    )
    await project(stage).ensure()
    after = await boards.list_all(shop.project_id)
    assert [board.row.id for board in after] == [board.row.id for board in before] + [own.row.id]
    assert [len(board.tiles) for board in after] == [len(board.tiles) for board in before] + [0]
    assert await project(stage).ensure() == shop
    assert await boards.list_all(shop.project_id) == after


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
    ids = await ids_of_events(stage)
    assert any(name.startswith("bot-") for name in ids)
    told = [call.external_id for call in await told_people(stage)]
    assert told
    assert len(set(told)) == len(told)
    assert {number_of(name) for name in told} <= {number_of(name) for name in ids}


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
