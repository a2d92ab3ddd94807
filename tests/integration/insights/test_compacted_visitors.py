"""Compacted visitors are told like the roll-up's, whatever happens (decision 0042)."""

import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.spec import (
    Aggregation,
    Breakdown,
    Dimension,
    EventCondition,
    EventQuery,
    Granularity,
    InsightSpec,
    Segmentation,
    TimeRange,
    TopK,
    Trends,
)
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.compacted_visitors import (
    COUNTED_MAX,
    IDS,
    compact_visitors,
    forget_visitors,
    list_behind_visitors,
    load_reached_visitors,
)
from appliance.storage.clickhouse.insights.compacted import FEW_IDS
from appliance.storage.clickhouse.insights.explain import explain_insight
from appliance.storage.clickhouse.insights.ranking import compile_ranking
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from appliance.storage.clickhouse.retention import Expired, renew_rollups
from tests.integration.insights.generated import (
    DAY_MS,
    EVENTS,
    KIND_SCOPES,
    NOW_MS,
    RANDOM,
    START,
    START_MS,
    iso,
    rolled_up_trends,
)
from tests.support import oracle
from tests.support.event_rows import make_blocks
from tests.support.oracle_ranking import ranking
from tests.support.stumbling import Stumbling, die_before

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_PROJECTS = itertools.count()
_FIRST = START.date()
_LATER = _FIRST + timedelta(days=60)
_VISITORS = EventQuery(condition=EventCondition(kind="a"), aggregation=Aggregation.UNIQUE_USERS)
_OF_PEOPLE = [Aggregation.UNIQUE_USERS, Aggregation.PER_USER_AVG]
_WRITES = [
    *(("compacted_visitor_numbers", nth) for nth in range(1, 5)),
    *(("compacted_visitors", nth) for nth in range(1, 7)),
    *(("compacted_visitors_progress", nth) for nth in range(1, 6)),
]
"""Late rows, of days and of full weeks; today's numbers; two days; and weeks."""


def _split(key: str) -> Breakdown:
    return Breakdown(properties=(key,))


def _day(number: int) -> date:
    return _FIRST + timedelta(days=number)


def _event(person: str, day: int) -> dict[str, object]:
    return {
        "kind": "a",
        "distinct_id": person,
        "session_id": "00000000-0000-4000-8000-000000000001",
        "occur_time": iso(day * DAY_MS),
        "auto": {"$pathname": "/"},
        "custom": {},
    }


def _people(days: int = 10) -> InsightSpec:
    """How many people had an event `a`, of the only page."""
    return InsightSpec(
        question=TopK(
            dimension=Dimension.PROPERTY,
            property="$pathname",
            scope=EventCondition(kind="a"),
            metric=Aggregation.UNIQUE_USERS,
        ),
        range=TimeRange(start_ms=START_MS, end_ms=START_MS + days * DAY_MS),
        granularity=Granularity.DAY,
    )


def _plan(spec, project):
    return plan_insight(spec, project_id=project, now_ms=NOW_MS)


async def _answer(store, project, spec):
    """From bitmaps however few there are."""
    return await ClickHouseInsights(store, few_ids=0).answer(_plan(spec, project))


async def _count(store, project, days: int = 10) -> float:
    rows = (await _answer(store, project, _people(days))).rows
    return rows[0].amount if rows else 0.0


async def _filled(store, *blocks, today: date = _LATER) -> str:
    """A project with these blocks of events, compacted after the first."""
    project = f"visitors-{next(_PROJECTS)}"
    events = [one for block in blocks for one in block]
    size = len(blocks[0])
    assert all(len(block) == size for block in blocks)
    for number, rows in enumerate(make_blocks(project, events, size)):
        await store.insert(rows)
        if number == 0:
            assert await compact_visitors(store, project, today)
    return project


@st.composite
def _rankings(draw) -> InsightSpec:
    first, days = draw(st.tuples(st.integers(-1, 40), st.integers(1, 46)))
    start_ms = START_MS + first * DAY_MS
    return InsightSpec(
        question=draw(
            st.builds(
                TopK,
                dimension=st.sampled_from([Dimension.PROPERTY, Dimension.EVENT_KIND]),
                property=st.sampled_from(["$pathname", "$referrerDomain", "$os"]),
                scope=KIND_SCOPES,
                metric=st.sampled_from(_OF_PEOPLE),
                limit=st.integers(1, 4),
                omit_others=st.booleans(),
            )
        ),
        range=TimeRange(start_ms=start_ms, end_ms=start_ms + days * DAY_MS),
        granularity=Granularity.DAY,
        include_cookieless=draw(st.booleans()),
    )


@st.composite
def _totals(draw) -> InsightSpec:
    """One number of people, over any of the events of a trend."""
    trend = draw(rolled_up_trends())
    aggregation = draw(st.sampled_from(_OF_PEOPLE))
    events = tuple(replace(query, aggregation=aggregation) for query in trend.question.events)
    return replace(trend, question=Segmentation(events=events))


def _on_pages(events):
    """The same texts as pages and referrers, of which one person has many."""
    return [
        one
        | {
            "auto": {
                **one["auto"],
                "$pathname": one["auto"]["$os"],
                "$referrerDomain": one["auto"].get("$country", ""),
            }
        }
        for one in events
    ]


def _served(answer) -> oracle.Answer:
    return {
        (series.kind, tuple(value for _, value in series.breakdown)): [
            (point.time_ms, pytest.approx(point.value, rel=1e-9)) for point in series.points
        ]
        for series in answer.series
    }


@RANDOM
@given(
    events=EVENTS.map(_on_pages),
    size=st.integers(1, 15),
    passes=st.lists(st.one_of(st.none(), st.integers(-1, 50)), min_size=1, max_size=4),
    trends=st.lists(rolled_up_trends(), min_size=1, max_size=3),
    totals=st.lists(_totals(), min_size=1, max_size=2),
    rankings=st.lists(_rankings(), min_size=1, max_size=3),
)
async def test_answers_are_the_oracles(
    event_store, events, size, passes, trends, totals, rankings
) -> None:
    """Whichever blocks and days are compacted, in any steps, also when the clock went back."""
    project = f"visitors-{next(_PROJECTS)}"
    blocks = make_blocks(project, events, size)
    for rows, today in zip(blocks, itertools.cycle(passes), strict=False):
        await event_store.insert(rows)
        if today is not None:
            assert await compact_visitors(event_store, project, _day(today))
    for spec in trends:
        answer = await _answer(event_store, project, spec)
        if len(_served(answer)) == len(answer.series):  # no real `$others` beside the rest
            assert _served(answer) == oracle.trends(spec, events, is_rest_exact=True)
    for spec in totals:
        total = (await _answer(event_store, project, spec)).total
        assert total == pytest.approx(oracle.segmentation(spec, events), rel=1e-9)
    for spec in rankings:
        answer = await _answer(event_store, project, spec)
        told = [(row.value, row.is_rest, row.amount) for row in answer.rows]
        assert told == [
            (*row, pytest.approx(amount, rel=1e-9)) for *row, amount in ranking(spec, events)
        ]


_REPEATING = {
    "pages": _people().question,
    "trend by page": Trends(events=(_VISITORS,), breakdown=_split("$pathname")),
}
_ONCE_A_DAY = {
    "total": Segmentation(events=(_VISITORS,)),
    "trend": Trends(events=(_VISITORS,)),
    "trend by system": Trends(events=(_VISITORS,), breakdown=_split("$os")),
    "systems": replace(_people().question, property="$os"),
    "map": replace(_people().question, dimension=Dimension.COUNTRY, property="$country"),
}


@pytest.mark.parametrize("name", [*_REPEATING, *_ONCE_A_DAY])
async def test_bitmaps_are_read_where_sets_hold_many(event_store, name) -> None:
    """Before the first pass the roll-up answers alone; what is explained is what is asked."""
    project = f"visitors-{next(_PROJECTS)}"
    question = (_REPEATING | _ONCE_A_DAY)[name]
    at_once, a_day_more = (
        _plan(replace(_people(days), question=question), project) for days in (10, 11)
    )

    async def reads_bitmaps(plan) -> bool:
        return "compacted_visitors" in (await explain_insight(event_store, plan)).sql

    (rows,) = make_blocks(project, [_event("0", 0)], 1)
    await event_store.insert(rows)
    await _insert_crowd(event_store, project, 0, 0, FEW_IDS // 10)
    assert not await reads_bitmaps(a_day_more)
    assert project in await list_behind_visitors(event_store, _LATER)
    assert await compact_visitors(event_store, project, _LATER)
    assert await reads_bitmaps(a_day_more)
    assert await reads_bitmaps(at_once) is (name in _REPEATING)
    assert project not in await list_behind_visitors(event_store, _LATER)
    assert project in await list_behind_visitors(event_store, _LATER + timedelta(days=1))


async def test_a_range_before_all_that_is_compacted_is_read_from_the_roll_up(event_store) -> None:
    project = await _filled(event_store, [_event("u1", 5)], today=_day(0))
    spec = _people()
    assert (
        "compacted_visitors" not in (await explain_insight(event_store, _plan(spec, project))).sql
    )
    assert await _count(event_store, project) == 1


async def test_other_projects_are_not_read(event_store) -> None:
    one = await _filled(event_store, [_event("u1", 0), _event("u2", 0)])
    other = await _filled(event_store, [_event("u3", 0), _event("u3", 1)])
    assert await _count(event_store, one) == 2
    assert await _count(event_store, other) == 1


@pytest.mark.parametrize(("table", "nth"), _WRITES)
async def test_a_killed_pass_is_done_again(event_store, endpoint, table, nth) -> None:
    """Dead before any of its writes: right before, and after the next pass."""
    project = await _filled(
        event_store,
        [_event("u1", 0), _event("u2", 1), _event("u3", 3)],
        [_event("u1", 1), _event("u4", 0), _event("u5", 4)],
        today=_day(2),
    )

    await die_before(endpoint, table, lambda store: compact_visitors(store, project, _LATER), nth)
    assert await _count(event_store, project) == 5
    assert await compact_visitors(event_store, project, _LATER)
    assert await _count(event_store, project) == 5
    assert await event_store.rows(
        "SELECT count() = uniqExact(hash), max(number) FROM compacted_visitor_numbers"
        " WHERE project_id = {project:String}",
        {"project": project},
    ) == [(1, 5)]


async def test_a_question_across_a_pass_counts_everybody_once(event_store) -> None:
    """It read how far visitors were compacted before the pass, and the bitmaps after it.

    The control is the same without leaving out what the pass gave numbers to.
    """
    project = await _filled(
        event_store,
        [_event("u1", 0), _event("u2", 1)],
        [_event("u3", 0), _event("u4", 1)],
    )
    before = await load_reached_visitors(event_store, project)
    assert await compact_visitors(event_store, project, _LATER)
    after = await load_reached_visitors(event_store, project)
    assert before.before_number < after.before_number
    plan = _plan(_people(), project)
    ((*_, told, _),) = await ask(event_store, compile_ranking(plan, before))
    assert told == 4
    control = replace(before, before_number=COUNTED_MAX)
    known = "compacted_visitor_numbers WHERE number < 3 AND"
    statement = compile_ranking(plan, control)
    text = statement.text.replace("compacted_visitor_numbers\n        WHERE", known)
    assert text != statement.text
    ((*_, told, _),) = await event_store.rows(text, statement.parameters, statement.settings)
    assert told == 6


async def test_wrong_bitmaps_are_found_and_made_anew(event_store) -> None:
    """As a second number for one visitor would leave them; the control is that they are read."""
    project = await _filled(event_store, [_event("u1", 0), _event("u2", 1)], today=_day(5))
    await event_store.command(
        "INSERT INTO compacted_visitors SELECT * REPLACE (bitmapBuild([toUInt64(2)]) AS visitors)"
        " FROM compacted_visitors WHERE project_id = {project:String}",
        {"project": project},
    )
    assert await _count(event_store, project, 1) == 2
    (rows,) = make_blocks(project, [_event("u3", 6)], 1)
    await event_store.insert(rows)
    assert not await compact_visitors(event_store, project, _day(8))
    assert await _count(event_store, project, 1) == 1
    assert await compact_visitors(event_store, project, _day(8))
    assert await _count(event_store, project, 1) == 1
    assert await _count(event_store, project) == 3


async def test_retention_takes_days_from_both(event_store, endpoint) -> None:
    """Also from a pass that began before; the control is a roll-up that lost days alone."""
    project = await _filled(event_store, [_event("gone", 0), _event("stays", 5)])
    cutoff = START + timedelta(days=3)
    drop = (
        "DELETE FROM dashboard_event_rollup_daily"
        " WHERE project_id = {project:String} AND day < toDate32({cutoff:DateTime64(3, 'UTC')})"
    )
    await event_store.command(drop, {"project": project, "cutoff": cutoff})
    assert await _count(event_store, project) == 2
    expired = Expired(events=1, sessions=1, people=1, rolled=21)

    async def retain() -> None:
        await renew_rollups(event_store, project, cutoff, expired)

    await forget_visitors(event_store, project)
    late = Stumbling(endpoint, "compacted_visitors", retain)
    assert await compact_visitors(late, project, _LATER)
    await late.close()
    assert await _count(event_store, project) == 1
    assert await compact_visitors(event_store, project, _LATER)
    assert await _count(event_store, project) == 1


async def _insert_crowd(store, project: str, day: int, first: int, people: int) -> None:
    """A day of the roll-up with so many visitors, as the feed would have left it."""
    await store.command(
        "INSERT INTO dashboard_event_rollup_daily (project_id, kind, dimension, day, value,"
        " cookieless, event_count, visitors, last_block)"
        " SELECT {project:String}, 'a', slot.1, toDate32('2025-03-01') + {day:Int32}, slot.2, 0,"
        " count(), uniqState(toString(number)), 1"
        " FROM numbers({first:UInt64}, {people:UInt64})"
        " ARRAY JOIN [('$__total__', ''), ('$pathname', '/')] AS slot GROUP BY slot",
        {"project": project, "day": day, "first": first, "people": people},
    )


@pytest.mark.parametrize("today", [_day(1), _LATER], ids=["today", "compacted"])
async def test_samples_are_united_as_sets(event_store, today) -> None:
    """A day beyond what sets count is a sample: the answer is the roll-up's own estimate."""
    project = f"visitors-{next(_PROJECTS)}"
    await _insert_crowd(event_store, project, 0, 0, 1000)
    await _insert_crowd(event_store, project, 1, 500, 100_000)
    ((expected,),) = await event_store.rows(
        "SELECT uniqMerge(visitors) FROM dashboard_event_rollup_daily"
        " WHERE project_id = {project:String} AND dimension = '$pathname'",
        {"project": project},
    )
    assert await compact_visitors(event_store, project, today)
    assert await _count(event_store, project) == expected
    assert await _count(event_store, project, 1) == 1000


@pytest.mark.parametrize("people", [1, 127, 128, 16_383, 16_384, COUNTED_MAX])
async def test_sets_are_read_as_they_are_written(event_store, people) -> None:
    """Everybody of a set, at each length of its count."""
    ((told, length, distinct),) = await event_store.rows(
        "SELECT uniqMerge(visitors), length(any(ids)), uniqExactArray(ids) FROM (SELECT visitors,"
        f" toString(visitors) AS state, {IDS} AS ids FROM (SELECT uniqState(toString(number)) AS"
        " visitors FROM numbers({people:UInt64})))",
        {"people": people},
    )
    assert told == length == distinct


async def test_many_days_are_united(event_store) -> None:
    """More visitors together than a set counts: every one of them, while sets estimate."""
    project = f"visitors-{next(_PROJECTS)}"
    for day in range(4):
        await _insert_crowd(event_store, project, day, day * 25_000, 50_000)
    assert await compact_visitors(event_store, project, _LATER)
    distinct = await event_store.rows(
        f"SELECT uniqExactArray({IDS}) FROM (SELECT toString(visitors) AS state"
        " FROM dashboard_event_rollup_daily WHERE project_id = {project:String})",
        {"project": project},
    )
    assert [(await _count(event_store, project),)] == distinct
    assert distinct[0][0] == pytest.approx(125_000, rel=1e-4)
