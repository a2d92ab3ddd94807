"""Statements of crowds: hostile texts are values, and no other project's rows are read."""

import pytest

from appliance.domain.cohorts.cohort import CRITERIA_MAX
from appliance.domain.insights.dimensions import COHORT
from appliance.domain.insights.filters import plan_crowd
from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.shape import SegmentationAnswer
from appliance.domain.insights.spec import (
    Comparison,
    Crowd,
    Did,
    EventCondition,
    FilterGroup,
    FilterGroups,
    FirstDid,
    Granularity,
    Has,
    InsightSpec,
    Listed,
    Logic,
    Operator,
    PropertyFilter,
    SessionMetric,
    SessionNumber,
    TimeRange,
)
from appliance.storage.clickhouse.insights.cohorts import compile_people_page
from appliance.storage.clickhouse.insights.conditions import PeopledReading, compile_condition
from appliance.storage.clickhouse.insights.members import ClickHouseMembers
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.integration.cohorts.generated import store_world
from tests.integration.insights.test_statements import HOSTILE
from tests.support.event_rows import make_rows
from tests.support.oracle_cohorts import World

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_AT = "2025-05-01T10:00:00.000Z"
_EVER = TimeRange(start_ms=0, end_ms=4_000_000_000_000)


def _crowd(text: str) -> Crowd:
    """Every kind of criterion about one text."""
    event = PropertyFilter(property=f"k{text}", operator=Operator.EQUALS, value=text)
    profile = PropertyFilter(property="plan", operator=Operator.EQUALS, value=text, of_profile=True)
    return Crowd(
        criteria=(
            Listed(ids=(text,)),
            Did(
                condition=EventCondition(kind=text, filters=(event, profile)),
                comparison=Comparison.AT_LEAST,
                times=1,
            ),
            FirstDid(condition=EventCondition(kind=text), span=_EVER),
            Has(filter=PropertyFilter(property="plan", operator=Operator.CONTAINS, value=text)),
        ),
        logic=Logic.OR,
    )


def _page(project: str, text: str):
    condition = compile_condition(plan_crowd(_crowd(text)), PeopledReading(project))
    return compile_people_page(project, condition, after=text, limit=10)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text])
async def test_hostile_texts_are_values(event_store, text: str) -> None:
    """The statement is the same whatever the text is, and finds exactly whom it names."""
    assert _page("hostile", text).text == _page("hostile", "plain").text
    project = f"hostile-{HOSTILE.index(text)}"
    session = "00000000-0000-4000-8000-000000000001"
    event = {"kind": "a", "distinct_id": text, "session_id": session, "occur_time": _AT}
    await event_store.insert(make_rows(project, [event, event | {"distinct_id": "other"}]))
    found = await ClickHouseMembers(event_store).page(
        project, plan_crowd(_crowd(text)), after="", limit=10
    )
    assert [one.id for one in found] == [text]


async def test_another_project_s_people_are_nobody(event_store) -> None:
    """Events, profiles, aliases and summaries of the same names next door change nothing."""
    session = "00000000-0000-4000-8000-000000000001"
    theirs = World(
        events=[
            {"kind": "a", "distinct_id": name, "session_id": session, "occur_time": _AT}
            for name in ("u1", "u2", "only-theirs")
        ],
        profiles=[{"id": "P", "external_id": "u1", "properties": {"plan": "a"}, "deleted": False}],
        aliases=[("u2", "P")],
    )
    await event_store.insert(make_rows("theirs", theirs.events))
    await store_world(event_store, "theirs", theirs)
    mine = World(events=[theirs.events[0] | {"kind": "b"}])
    await event_store.insert(make_rows("mine", mine.events))
    members = ClickHouseMembers(event_store)
    everybody = Crowd(criteria=())
    for project, world in (("mine", mine), ("theirs", theirs)):
        for crowd in (_crowd("a"), _crowd("u1"), everybody):
            found = await members.page(project, plan_crowd(crowd), after="", limit=10)
            assert {one.id for one in found} == world.members(crowd), (project, crowd)


async def test_the_largest_question_is_answered(event_store) -> None:
    """As many criteria as one may have, in a type that asks its filters twice."""
    session = "00000000-0000-4000-8000-000000000001"
    event = {"kind": "a", "distinct_id": "u1", "session_id": session, "occur_time": _AT}
    await event_store.insert(make_rows("largest", [event]))
    criteria = tuple(
        Did(
            condition=EventCondition(kind=f"never-{number}"),
            comparison=Comparison.AT_MOST,
            times=number,
            span=_EVER,
        )
        for number in range(CRITERIA_MAX)
    )
    filters = FilterGroups(
        groups=(
            FilterGroup(
                filters=(
                    PropertyFilter(
                        property=COHORT, operator=Operator.EQUALS, crowd=Crowd(criteria=criteria)
                    ),
                )
            ),
        )
    )
    spec = InsightSpec(
        question=SessionNumber(metric=SessionMetric.SESSIONS),
        range=_EVER,
        granularity=Granularity.DAY,
        filters=filters,
    )
    plan = plan_insight(spec, project_id="largest", now_ms=_EVER.end_ms)
    answer = await ClickHouseInsights(event_store).answer(plan)
    assert answer == SegmentationAnswer(total=1)


async def test_an_id_that_fits_several_people_belongs_to_one(event_store) -> None:
    """The profile with the id, before the owner of the alias, before the external id."""
    session = "00000000-0000-4000-8000-000000000001"
    names = ("P1", "P2", "shared", "gone", "ext2")
    world = World(
        events=[
            {"kind": name, "distinct_id": name, "session_id": session, "occur_time": _AT}
            for name in names
        ],
        profiles=[
            {"id": "P1", "external_id": "P2", "properties": {}, "deleted": False},
            {"id": "P2", "external_id": "shared", "properties": {}, "deleted": False},
            {"id": "P3", "external_id": "ext2", "properties": {}, "deleted": True},
        ],
        aliases=[("shared", "P2"), ("shared", "P1"), ("P2", "P1"), ("gone", "P3")],
    )
    await event_store.insert(make_rows("several", world.events))
    await store_world(event_store, "several", world)
    whose = {"P1": "P1", "P2": "P2", "shared": "P1", "gone": "gone", "ext2": "ext2"}
    members = ClickHouseMembers(event_store)
    for name, person in whose.items():
        assert world.person(name) == person
        did = Did(condition=EventCondition(kind=name), comparison=Comparison.AT_LEAST, times=1)
        for criterion in (did, Listed(ids=(name,))):
            crowd = plan_crowd(Crowd(criteria=(criterion,)))
            found = await members.page("several", crowd, after="", limit=10)
            assert [one.id for one in found] == [person], (name, criterion)
    everybody = plan_crowd(Crowd(criteria=()))
    assert await members.count("several", everybody) == 4


async def test_the_first_time_is_the_first_of_all_ids(event_store) -> None:
    """Who did it long ago under another id is not new."""
    session = "00000000-0000-4000-8000-000000000001"
    times = {"old": "2025-01-01T00:00:00.000Z", "new": _AT, "stranger": _AT}
    world = World(
        events=[
            {"kind": "a", "distinct_id": name, "session_id": session, "occur_time": at}
            for name, at in times.items()
        ],
        profiles=[{"id": "P", "external_id": "", "properties": {}, "deleted": False}],
        aliases=[("old", "P"), ("new", "P")],
    )
    await event_store.insert(make_rows("first", world.events))
    await store_world(event_store, "first", world)
    members = ClickHouseMembers(event_store)
    spring = TimeRange(start_ms=1_743_465_600_000, end_ms=1_748_736_000_000)
    winter = TimeRange(start_ms=1_735_689_600_000, end_ms=1_735_689_600_001)
    for span, expected in ((spring, ["stranger"]), (winter, ["P"])):
        first = FirstDid(condition=EventCondition(kind="a"), span=span)
        crowd = plan_crowd(Crowd(criteria=(first,)))
        found = await members.page("first", crowd, after="", limit=10)
        assert [one.id for one in found] == expected
