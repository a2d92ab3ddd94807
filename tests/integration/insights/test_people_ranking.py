"""Rankings by unique users that do not merge everybody: always the whole order, ties and the rest.

Invariant: each property has a control: what the first statement alone would have told, or a set for
which the bound by events does not hold.
"""

from collections.abc import Sequence
from itertools import count
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.ranking import RankedRow, RankingPlan
from appliance.domain.insights.route import DAY_MS, Source
from appliance.domain.insights.spec import (
    Aggregation,
    Dimension,
    EventCondition,
    Granularity,
    InsightSpec,
    TimeRange,
    TopK,
)
from appliance.storage.clickhouse.compacted_visitors import COUNTED_MAX
from appliance.storage.clickhouse.insights.explain import explain_insight
from appliance.storage.clickhouse.insights.people_ranking import (
    FEW_VALUES,
    compile_people_ranking,
    rank_people,
    ranks_people,
    read_ranked,
)
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.integration.insights.generated import NOW_MS, RANDOM, START_MS, iso
from tests.support.event_rows import make_rows
from tests.support.oracle_ranking import ranking

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SESSION = "00000000-0000-4000-8000-000000000001"
PAGES = ["", "$others", "/", "/a", "/A", "/b", "/é", "/'", "/c", "/d", "/e", "/f"]
PEOPLE = ["u1", "u2", "u3", "u4", "u5", "cookieless-1", "cookieless-2"]
NEVER_FEW = 0
CROWDS = 40
_PROJECTS = count()

Row = tuple[str, bool, float]

VISITS = st.lists(
    st.tuples(
        st.sampled_from(PAGES),
        st.sampled_from(PEOPLE),
        st.integers(0, 3),
        st.sampled_from(["a", "a", "b"]),
        st.sampled_from([1, 1, 1, 2, 9]),
    ),
    max_size=40,
)
"""Page, person, day, kind, and how often: some persons are loud."""

ASKED = st.builds(
    TopK,
    dimension=st.just(Dimension.PROPERTY),
    property=st.just("$pathname"),
    scope=st.builds(EventCondition, kind=st.sampled_from(["", "a"])),
    metric=st.just(Aggregation.UNIQUE_USERS),
    limit=st.integers(1, len(PAGES) + 1),
    omit_others=st.booleans(),
)


class Listening:
    """The store of a test, and what it was asked."""

    def __init__(self, store) -> None:
        self._store = store
        self.asked: list[str] = []

    async def rows(self, statement, *rest):
        self.asked.append(statement)
        return await self._store.rows(statement, *rest)


def event(page: str, person: str, day: int = 0, kind: str = "a") -> dict[str, object]:
    return {
        "kind": kind,
        "distinct_id": person,
        "session_id": SESSION,
        "occur_time": iso(day * DAY_MS),
        "auto": {"$pathname": page},
        "custom": {},
    }


def visits(page: str, people: int, events: int) -> list[dict[str, object]]:
    """So many events of a page by so many people."""
    return [event(page, f"u{number % people}") for number in range(events)]


def asked(limit: int, *, omit_others: bool = False) -> TopK:
    return TopK(
        dimension=Dimension.PROPERTY,
        property="$pathname",
        metric=Aggregation.UNIQUE_USERS,
        limit=limit,
        omit_others=omit_others,
    )


def spec_of(question: TopK, *, cookieless: bool = False) -> InsightSpec:
    return InsightSpec(
        question=question,
        range=TimeRange(start_ms=START_MS, end_ms=START_MS + 4 * DAY_MS),
        granularity=Granularity.DAY,
        include_cookieless=cookieless,
    )


def plan_of(spec: InsightSpec, project: str) -> RankingPlan:
    plan = plan_insight(spec, project_id=project, now_ms=NOW_MS)
    assert isinstance(plan, RankingPlan)
    assert ranks_people(plan)
    return plan


def told(rows: Sequence[RankedRow]) -> list[Row]:
    return [(row.value, row.is_rest, row.amount) for row in rows]


async def filled(store, events) -> str:
    project = f"people-{next(_PROJECTS)}"
    await store.insert(make_rows(project, events))
    return project


@settings(RANDOM, max_examples=40)
@given(drawn=VISITS, questions=st.lists(st.tuples(ASKED, st.booleans()), min_size=1, max_size=3))
async def test_every_order_is_the_oracles(event_store, drawn, questions) -> None:
    """With candidates, without, from events: one answer [insights 15, 20]."""
    events = [
        event(page, person, day, kind)
        for page, person, day, kind, times in drawn
        for _ in range(times)
    ]
    project = await filled(event_store, events)
    for question, cookieless in questions:
        spec = spec_of(question, cookieless=cookieless)
        plan = plan_of(spec, project)
        expected = ranking(spec, events)
        assert told(await rank_people(event_store, plan, {}, few_values=NEVER_FEW)) == expected
        assert told(await rank_people(event_store, plan, {})) == expected
        raw = replace(plan, source=Source.EVENTS)
        assert told((await ClickHouseInsights(event_store).answer(raw)).rows) == expected


LOUD = [
    *visits("/loud", people=1, events=100),
    *(one for page in "abc" for one in visits(f"/{page}", people=3, events=3)),
]
TIED_BELOW = [
    *visits("/y", people=4, events=10),
    *visits("/z", people=4, events=10),
    *visits("/a", people=4, events=4),
]
TIED_AT = [
    *visits("/y", people=5, events=10),
    *visits("/z", people=5, events=10),
    *visits("/a", people=5, events=5),
]
CALM = [
    *visits("/y", people=6, events=8),
    *visits("/z", people=6, events=6),
    *visits("/a", people=2, events=2),
    *visits("/b", people=1, events=1),
]


@pytest.mark.parametrize("has_rest", [True, False], ids=["rest", "no-rest"])
@pytest.mark.parametrize(
    ("events", "limit", "statements", "places"),
    [
        (LOUD, 1, 2, ["/a"]),
        (LOUD, 3, 1, ["/a", "/b", "/c"]),
        (TIED_BELOW, 2, 2, ["/a", "/y"]),
        (TIED_AT, 2, 1, ["/a", "/y"]),
        (CALM, 2, 1, ["/y", "/z"]),
        (CALM, 4, 1, ["/y", "/z", "/a", "/b"]),
        (CALM, 9, 1, ["/y", "/z", "/a", "/b"]),
        ([], 3, 1, []),
    ],
    ids=["loud", "low-floor", "tied-below", "tied-at-the-floor", "calm", "all", "more", "none"],
)
async def test_the_order_is_told_when_it_is_proven(
    event_store, events, limit, statements, places, has_rest
) -> None:
    """One statement where the last place has the people of the floor, else a second."""
    project = await filled(event_store, events)
    spec = spec_of(asked(limit, omit_others=not has_rest))
    store = Listening(event_store)
    rows = await rank_people(store, plan_of(spec, project), {}, few_values=NEVER_FEW)
    assert told(rows) == ranking(spec, events)
    assert [row.value for row in rows if not row.is_rest] == places
    assert len(store.asked) == statements


@pytest.mark.parametrize("events", [LOUD, TIED_BELOW], ids=["loud", "tied-below"])
async def test_the_first_statement_alone_would_lie(event_store, events) -> None:
    """The control: an order by events is not one by people, so it must not pass for proven."""
    limit = 1 if events is LOUD else 2
    project = await filled(event_store, events)
    spec = spec_of(asked(limit))
    statement = compile_people_ranking(plan_of(spec, project), few_values=NEVER_FEW)
    first = read_ranked(
        await event_store.rows(statement.text, statement.parameters, statement.settings)
    )
    assert told(first.rows) != ranking(spec, events)
    assert not first.proves(limit)


async def test_many_values_are_ranked_as_a_page_asks(event_store) -> None:
    """More values than are merged without a choice, through the door that insights use."""
    events = [
        one
        for number in range(FEW_VALUES + 20)
        for one in visits(f"/{number}", people=1 + number % 40, events=1 + number % 40)
    ]
    project = await filled(event_store, events)
    for limit in (1, 10, 50, 100):
        spec = spec_of(asked(limit))
        answer = await ClickHouseInsights(event_store).answer(plan_of(spec, project))
        assert told(answer.rows) == ranking(spec, events)


async def test_an_estimate_above_the_events_is_not_left_out(event_store) -> None:
    """A set beyond the exact ones may be told larger than its events: no bound, so a candidate."""
    size = COUNTED_MAX + 4_464
    estimates = {
        cast("int", crowd): cast("int", people)
        for crowd, people in await event_store.rows(
            "SELECT crowd, uniq(id) FROM (SELECT intDiv(number, {size:UInt64}) AS crowd,"
            " toString(number) AS id FROM numbers({all:UInt64})) GROUP BY crowd",
            {"size": size, "all": CROWDS * size},
        )
    }
    quiet = max(estimates, key=lambda crowd: estimates[crowd])
    fewer = [crowd for crowd, people in estimates.items() if size < people < estimates[quiet]]
    assert fewer, "the control: the bound by events does not hold for these sets"
    project = f"people-{next(_PROJECTS)}"
    for page, crowd, events in (("/quiet", quiet, size), ("/loud", fewer[0], 2 * (size + 1))):
        await event_store.command(
            "INSERT INTO dashboard_event_rollup_daily (project_id, kind, dimension, day, value,"
            " cookieless, event_count, visitors)"
            " SELECT {project:String}, 'a', '$pathname', toDate32('2025-03-01'), {page:String}, 0,"
            " {events:UInt64}, uniqState(toString(number))"
            " FROM numbers({start:UInt64}, {size:UInt64})",
            {
                "project": project,
                "page": page,
                "events": events,
                "start": crowd * size,
                "size": size,
            },
        )
    plan = plan_of(spec_of(asked(1)), project)
    rows = await rank_people(event_store, plan, {}, few_values=NEVER_FEW)
    assert told(rows[:1]) == [("/quiet", False, estimates[quiet])]


async def test_what_is_explained_is_what_is_asked(event_store) -> None:
    project = await filled(event_store, CALM)
    plan = plan_of(spec_of(asked(2)), project)
    store = Listening(event_store)
    await ClickHouseInsights(store).answer(plan)
    explained = await explain_insight(event_store, plan)
    _how_far_compacted, asked_for = store.asked
    assert asked_for.strip() == explained.sql
    assert any("ReadFromMergeTree" in line for line in explained.plan)
