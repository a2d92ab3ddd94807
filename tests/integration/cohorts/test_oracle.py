"""Who is in a crowd, and every type of question about one: the engine = plain loops."""

from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.domain.insights.filters import plan_crowd
from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.route import Source, choose_source
from appliance.domain.insights.spec import (
    Aggregation,
    Crowd,
    Dimension,
    Funnel,
    Retention,
    Segmentation,
    SessionMetric,
    SessionNumber,
    SessionTrends,
    TopK,
    Trends,
    UserFlow,
)
from appliance.storage.clickhouse.insights.members import ClickHouseMembers
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.integration.cohorts.generated import (
    CRITERIA,
    GROUPS,
    MEMBERSHIP,
    crowds,
    store_world,
    worlds,
)
from tests.integration.insights.generated import (
    ANY_QUERY,
    NOW_MS,
    SCOPES,
    STEPS,
    WALKS,
    specs,
)
from tests.support.event_rows import make_rows
from tests.support.oracle import segmentation, trends
from tests.support.oracle_people import funnel, retention
from tests.support.oracle_ranking import ranking
from tests.support.oracle_sessions import session_number, session_trends, user_flow

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

RANDOM = settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
PAGE = 2

_PROJECTS = count()
_EVENTS = st.lists(ANY_QUERY, min_size=1, max_size=2).map(tuple)
_QUESTIONS = st.one_of(
    st.builds(Trends, events=_EVENTS),
    st.builds(Segmentation, events=_EVENTS.map(lambda events: events[:1])),
    st.builds(SessionNumber, metric=st.sampled_from(list(SessionMetric)[:3]), scope=SCOPES),
    st.builds(SessionTrends, metric=st.just(SessionMetric.SESSIONS), scope=SCOPES),
    st.builds(
        TopK,
        dimension=st.sampled_from([Dimension.EVENT_KIND, Dimension.PROPERTY]),
        property=st.sampled_from(["$os", "n"]),
        metric=st.sampled_from([Aggregation.TOTAL, Aggregation.UNIQUE_USERS]),
        limit=st.integers(1, 3),
    ),
    st.builds(Funnel, steps=st.lists(STEPS, min_size=1, max_size=3).map(tuple)),
    st.builds(Retention, events=st.lists(STEPS, min_size=1, max_size=2).map(tuple)),
    st.builds(UserFlow, scope=SCOPES),
)


def _close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def _expected(spec, events):  # noqa: PLR0911 one for each type
    """What plain loops answer, in the form of `_told`."""
    match spec.question:
        case Trends():
            found = trends(spec, events, is_rest_exact=False)
            return {
                name: [(at, _close(value)) for at, value in series]
                for name, series in found.items()
            }
        case Segmentation():
            return _close(segmentation(spec, events))
        case SessionNumber():
            return _close(session_number(spec, events))
        case SessionTrends():
            return dict(session_trends(spec, events))
        case TopK():
            return ranking(spec, events)
        case Funnel():
            return [list(totals) for _, totals, _ in funnel(spec, events)]
        case Retention():
            return [
                [
                    (label, size, [(at, _close(value)) for at, value in points])
                    for label, size, points in found
                ]
                for _, found in sorted(retention(spec, events).items())
            ]
        case _:
            return [(link[:2], link[2:4], link[4]) for link in user_flow(spec, events)]


def _told(spec, answer):
    match spec.question:
        case Trends() | SessionTrends():
            return {
                (series.kind, tuple(value for _, value in series.breakdown)): [
                    (point.time_ms, point.value) for point in series.points
                ]
                for series in answer.series
            }
        case Segmentation() | SessionNumber():
            return answer.total
        case TopK():
            return [(row.value, row.is_rest, row.amount) for row in answer.rows]
        case Funnel():
            return [[step.total for step in series.steps] for series in answer.series]
        case Retention():
            return [
                [
                    (one.label, one.size, [(point.time_ms, point.percent) for point in one.points])
                    for one in series.cohorts
                ]
                for series in answer.series
            ]
        case _:

            def end(one):
                return ("$others" if one.is_rest else one.name, one.is_rest)

            return [(end(link.source), end(link.target), link.sessions) for link in answer.links]


@RANDOM
@given(world=worlds(WALKS), asked=st.lists(CRITERIA, min_size=6, max_size=12))
async def test_each_criterion_has_the_oracle_s_people(event_store, world, asked) -> None:
    """One by one, so that none hides another's slip."""
    project = f"criteria-{next(_PROJECTS)}"
    await event_store.insert(make_rows(project, world.events))
    await store_world(event_store, project, world)
    members = ClickHouseMembers(event_store)
    for criterion in asked:
        crowd = Crowd(criteria=(criterion,))
        found = await members.page(project, plan_crowd(crowd), after="", limit=100)
        assert {one.id for one in found} == world.members(crowd), criterion


@settings(RANDOM, max_examples=8)
@given(world=worlds(WALKS), asked=st.lists(crowds(), min_size=1, max_size=3))
async def test_the_people_of_a_crowd_are_the_oracles(event_store, world, asked) -> None:
    """Counted, and page by page: over all ids of each person, nobody twice, nobody cookieless."""
    project = f"crowd-{next(_PROJECTS)}"
    await event_store.insert(make_rows(project, world.events))
    await store_world(event_store, project, world)
    members = ClickHouseMembers(event_store)
    for crowd in asked:
        expected, condition = world.members(crowd), plan_crowd(crowd)
        assert await members.count(project, condition) == len(expected)
        found, after = [], ""
        while page := await members.page(project, condition, after=after, limit=PAGE):
            found += page
            after = page[-1].id
        assert [one.id for one in found] == sorted(expected, key=str.encode)
        live = {one["id"]: one["external_id"] for one in world.profiles if not one["deleted"]}
        assert {one.id: one.external_id for one in found} == {
            name: live.get(name, "") for name in expected
        }


@st.composite
def _asked(draw):
    spec = draw(specs(_QUESTIONS))
    question = spec.question
    if isinstance(question, Segmentation | Funnel | Retention) and draw(st.booleans()):
        name = "steps" if isinstance(question, Funnel) else "events"
        first, *rest = getattr(question, name)
        condition = first.condition
        condition = replace(condition, filters=(*condition.filters, draw(MEMBERSHIP)))
        question = replace(question, **{name: (replace(first, condition=condition), *rest)})
    return replace(spec, question=question, filters=draw(GROUPS))


@RANDOM
@given(world=worlds(WALKS), asked=st.lists(_asked(), min_size=1, max_size=4))
async def test_questions_about_crowds_are_the_oracles(event_store, world, asked) -> None:
    """Every type of insight, with members, without them, and with both beside other filters."""
    project = f"asked-{next(_PROJECTS)}"
    await event_store.insert(make_rows(project, world.events))
    await store_world(event_store, project, world)
    events = [{**event, "world": world} for event in world.events]
    for spec in asked:
        assert choose_source(spec, NOW_MS) is Source.EVENTS
        plan = plan_insight(spec, project_id=project, now_ms=NOW_MS)
        answer = await ClickHouseInsights(event_store).answer(plan)
        assert _told(spec, answer) == _expected(spec, events)
