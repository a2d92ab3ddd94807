"""Feed, explorer, heatmap and stats beyond the vectors [dashboards 11 to 14]."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from protobuf import Message
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.domain.access.roles import Role
from appliance.gen.common.v1.filter_schema_pb import PropertySource
from appliance.gen.common.v1.filters_pb import EventFilter, FilterOperator, PropertyFilter
from appliance.gen.common.v1.time_pb import TimeRange
from appliance.gen.shared.activity.v1.activity_pb import (
    GetActivityFeedRequest,
    GetActivityHeatmapRequest,
    GetEventExplorerRequest,
    GetProfileStatsRequest,
    GetProfileStatsResponse,
)
from tests.support.control import Refusal
from tests.support.people import NOON, PeopleWorld, make_people_world

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SERVICE = "shared.activity.v1.ActivityService"
FEED, EXPLORER = f"{SERVICE}/GetActivityFeed", f"{SERVICE}/GetEventExplorer"
HEATMAP, STATS = f"{SERVICE}/GetActivityHeatmap", f"{SERVICE}/GetProfileStats"
COOKIELESS = "cookieless-AAAAAAAAAAAAAAAAAAAAAA"
SEARCHES = {FEED: GetActivityFeedRequest, EXPLORER: GetEventExplorerRequest}


def search(path: str, **fields: object) -> Message:
    """A request of the feed or of the explorer."""
    if path == FEED:
        fields.setdefault("distinct_id", "u1")
    return SEARCHES[path](**fields)  # type: ignore[arg-type] the same fields for both


def of_profile(name: str, operator: FilterOperator, value: str = "") -> PropertyFilter:
    made = PropertyFilter(property=name, operator=operator, source=PropertySource.PROFILE)
    if value:
        made.value = value
    return made


def at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3]


async def test_pages_of_equal_times(world: PeopleWorld, form: str) -> None:
    """Events of one instant are ordered by id, and pages neither skip nor repeat any."""
    numbers = range(25)
    await world.add_events(
        *(
            {
                "event_id": str(uuid.UUID(int=number * 7919 % 25 + (number << 90))),
                "distinct_id": "u1",
                "kind": f"k{number % 3}",
                "occur_time": at(NOON + timedelta(minutes=number // 10)),
            }
            for number in numbers
        )
    )
    whole = await world.call(EXPLORER, GetEventExplorerRequest(page_size=1000), form)
    ids = [one.event_id for one in whole.events]
    assert len(set(ids)) == 25
    assert not whole.next_page_token
    times = [one.occur_time.to_datetime() for one in whole.events]
    assert times == sorted(times, reverse=True)
    for path in (EXPLORER, FEED):
        walked, token = [], ""
        while True:
            page = await world.call(path, search(path, page_size=4, page_token=token), form)
            walked += [one.event_id for one in page.events]
            token = page.next_page_token
            assert bool(token) == (len(page.events) == 4)
            if not token:
                break
        assert walked == ids


async def test_page_size_default(world: PeopleWorld) -> None:
    """A hundred where none is asked for."""
    await world.add_events(*({"distinct_id": "u1"} for _ in range(120)))
    page = await world.call(EXPLORER, GetEventExplorerRequest())
    assert len(page.events) == 100
    assert page.next_page_token


async def test_filters(world: PeopleWorld, form: str) -> None:
    """Kinds, properties, traits of the person; a session that is no UUID matches nothing."""
    await world.add_profile("P1", "e1", properties={"plan": "pro", "seats": 5})
    await world.add_profile("P2", "e2", properties={"plan": "free"})
    await world.add_alias("a1", "P1")
    events = [("P1", "x", "NO"), ("a1", "y", "SE"), ("P2", "x", "NO"), ("u1", "x", "NO")]
    await world.add_events(
        *(
            {"distinct_id": who, "kind": kind, "country": country, "occur_time": at(NOON)}
            for who, kind, country in events
        )
    )
    country = PropertyFilter(property="$country", operator=FilterOperator.EQUALS, value="NO")
    cases: list[tuple[dict[str, object], set[str]]] = [
        ({"property_filters": [country]}, {"P1", "P2", "u1"}),
        ({"property_filters": [of_profile("plan", FilterOperator.EQUALS, "pro")]}, {"P1", "a1"}),
        ({"property_filters": [of_profile("plan", FilterOperator.NOT_EQUALS, "pro")]}, {"P2"}),
        ({"property_filters": [of_profile("seats", FilterOperator.GTE, "5")]}, {"P1", "a1"}),
        ({"events": [EventFilter(kind="y")]}, {"a1"}),
        ({"events": [EventFilter()]}, {"P1", "a1", "P2", "u1"}),
        (
            {"events": [EventFilter(kind="y"), EventFilter(kind="x", filters=[country])]},
            {"P1", "a1", "P2", "u1"},
        ),
        ({"session_id": "no-uuid"}, set()),
        ({"session_id": str(uuid.UUID(int=1))}, {"P1", "a1", "P2", "u1"}),
        ({"session_id": str(uuid.UUID(int=2))}, set()),
    ]
    for fields, expected in cases:
        page = await world.call(EXPLORER, GetEventExplorerRequest(**fields), form)  # type: ignore[arg-type]
        assert {one.distinct_id for one in page.events} == expected, fields


async def test_stats(world: PeopleWorld, form: str) -> None:
    """All ids of the person; values of the latest event; properties by the literal id only."""
    await world.add_profile("P1", "e1", properties={"plan": "pro"})
    await world.add_alias("a1", "P1")
    recent = world.control.clock.now() - timedelta(days=3)
    await world.add_events(
        {"distinct_id": "a1", "occur_time": "2020-01-01 00:00:00", "city": "Oslo"},
        {"distinct_id": "e1", "occur_time": at(recent), "browser": "Firefox", "country": "NO"},
    )
    for name in ("P1", "a1", "e1"):
        answer = await world.call(STATS, GetProfileStatsRequest(distinct_id=name), form)
        stats = answer.stats
        assert stats.total_events == 2
        assert stats.first_seen.to_datetime() == datetime(2020, 1, 1, tzinfo=UTC)
        assert (stats.browser, stats.country, stats.city) == ("Firefox", "NO", "")
        assert [(day.date, day.count) for day in answer.heatmap] == [(f"{recent:%Y-%m-%d}", 1)]
        assert answer.has_field("properties") == (name == "P1")
    answer = await world.call(STATS, GetProfileStatsRequest(distinct_id="P1"), form)
    assert answer.properties.to_python() == {"plan": "pro"}


async def test_stats_of_strangers(world: PeopleWorld, form: str) -> None:
    """Unknown ids are no error; a profile without events has properties and nothing else."""
    for name in ("nobody", ""):
        answer = await world.call(STATS, GetProfileStatsRequest(distinct_id=name), form)
        assert answer == GetProfileStatsResponse()
    await world.add_profile("P1", "e1", deleted=True)
    await world.add_profile("P2", "e2", properties={"a": 1})
    answer = await world.call(STATS, GetProfileStatsRequest(distinct_id="P1"), form)
    assert answer == GetProfileStatsResponse()
    answer = await world.call(STATS, GetProfileStatsRequest(distinct_id="P2"), form)
    assert answer.properties.to_python() == {"a": 1.0}
    assert not answer.has_field("stats")
    assert list(answer.heatmap) == []


async def test_cookieless(world: PeopleWorld, form: str) -> None:
    """Cookieless traffic is shown everywhere in activity [dashboards 11.1]."""
    recent = world.control.clock.now() - timedelta(hours=1)
    await world.add_events({"distinct_id": COOKIELESS, "occur_time": at(recent), "os": "Linux"})
    page = await world.call(FEED, GetActivityFeedRequest(distinct_id=COOKIELESS), form)
    assert len(page.events) == 1
    answer = await world.call(STATS, GetProfileStatsRequest(distinct_id=COOKIELESS), form)
    assert (answer.stats.total_events, answer.stats.os) == (1, "Linux")
    days = await world.call(HEATMAP, GetActivityHeatmapRequest(distinct_id=COOKIELESS), form)
    assert [day.count for day in days.days] == [1]


async def test_heatmap_of_sixty_days(world: PeopleWorld, form: str) -> None:
    """Without a range: the last sixty days, up to now; a year far away has days too."""
    now = world.control.clock.now()
    for moment in (now - timedelta(days=61), now - timedelta(days=59), now + timedelta(hours=1)):
        await world.add_events({"distinct_id": "u1", "occur_time": at(moment)})
    days = await world.call(HEATMAP, GetActivityHeatmapRequest(distinct_id="u1"), form)
    assert [day.date for day in days.days] == [f"{now - timedelta(days=59):%Y-%m-%d}"]
    await world.add_events({"distinct_id": "u1", "occur_time": "1950-02-28 23:59:59.999"})
    window = TimeRange(
        from_=Timestamp.from_datetime(datetime(1900, 1, 1, tzinfo=UTC)),
        to=Timestamp.from_datetime(datetime(1960, 1, 1, tzinfo=UTC)),
    )
    request = GetActivityHeatmapRequest(distinct_id="u1", time_range=window)
    days = await world.call(HEATMAP, request, form)
    assert [(day.date, day.count) for day in days.days] == [("1950-02-28", 1)]


@pytest.mark.parametrize("path", [FEED, EXPLORER])
async def test_refused_searches(world: PeopleWorld, form: str, path: str) -> None:
    """Tokens of others, filters the store cannot compare, and the schema's own rules."""
    for token in ("!!!", "eyJ0IjoiMjAyNi0wNS0xMFQwOTozMDowMFoiLCJlIjoibm8ifQ", "W10"):
        with pytest.raises(Refusal) as refused:
            await world.call(path, search(path, page_token=token), form)
        assert refused.value.reason == "INVALID_PAGE_TOKEN"
    infinite = PropertyFilter(property="a", operator=FilterOperator.LT, value="inf")
    with pytest.raises(Refusal) as refused:
        await world.call(path, search(path, property_filters=[infinite]), form)
    assert (refused.value.code, refused.value.reason) == (
        "invalid_argument",
        "INVALID_ACTIVITY_FILTER",
    )
    with pytest.raises(Refusal) as refused:
        await world.call(path, search(path, events=[EventFilter(), EventFilter(kind="a")]), form)
    assert refused.value.reason == "INVALID_ARGUMENT"


GOOD = {
    FEED: GetActivityFeedRequest(distinct_id="u1"),
    EXPLORER: GetEventExplorerRequest(),
    HEATMAP: GetActivityHeatmapRequest(distinct_id="u1"),
    STATS: GetProfileStatsRequest(distinct_id="u1"),
}


async def test_callers(world: PeopleWorld, form: str) -> None:
    """A credential is needed, the id must be sent, and other projects show nothing."""
    await world.seen("u1")
    other = await make_people_world(world.control, Role.ADMIN)
    for path, request in GOOD.items():
        with pytest.raises(Refusal) as refused:
            await world.control.call(path, request, project=world.project, form=form)
        assert refused.value.reason == "UNAUTHENTICATED"
        answer = await other.call(path, request, form)
        assert answer == type(answer)()
    for path in (HEATMAP, STATS, FEED):
        with pytest.raises(Refusal) as refused:
            await world.call(path, type(GOOD[path])(), form)
        assert (refused.value.code, refused.value.reason) == (
            "invalid_argument",
            "INVALID_ARGUMENT",
        )
