"""Sessions, rankings, funnels, retention and flows: events = roll-up = oracle, on random input."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.route import Source
from appliance.domain.insights.sessions import SessionNumberPlan, SessionTrendsPlan
from appliance.domain.insights.spec import (
    Aggregation,
    Dimension,
    Funnel,
    Retention,
    SessionMetric,
    SessionNumber,
    SessionTrends,
    TopK,
    UserFlow,
)
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.integration.insights.generated import (
    KEYS,
    KIND_SCOPES,
    NOW_MS,
    RANDOM,
    SCOPES,
    STEPS,
    WALKS,
    breakdowns,
    specs,
    whole_days,
)
from tests.support.event_rows import make_rows
from tests.support.oracle_people import funnel, retention
from tests.support.oracle_ranking import ranking
from tests.support.oracle_sessions import session_number, session_trends, user_flow

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_PROJECTS = count()
_KEPT_ALL = 100
_COUNTS = [SessionMetric.SESSIONS, SessionMetric.ENTRY, SessionMetric.EXIT]
_MEANS = [
    SessionMetric.AVG_DURATION,
    SessionMetric.BOUNCE_RATE,
    SessionMetric.AVG_EVENTS_PER_SESSION,
]
_KEY_LISTS = st.lists(KEYS, max_size=2, unique=True)
_ROLLUP_KEY_LISTS = st.sampled_from([[], ["$os"], ["$country"]])
_SPLITS = breakdowns(_KEY_LISTS)


def _numbers(scopes):
    return st.builds(
        SessionNumber, metric=st.sampled_from([SessionMetric.SESSIONS, *_MEANS]), scope=scopes
    )


def _session_trends(scopes, key_lists):
    """Means are never folded: sums of fractions have no order to rely on."""
    one_key = key_lists.filter(lambda keys: len(keys) == 1)
    return st.one_of(
        st.builds(
            SessionTrends,
            metric=st.sampled_from(_COUNTS),
            scope=scopes,
            breakdown=breakdowns(one_key),
        ),
        st.builds(
            SessionTrends,
            metric=st.sampled_from([SessionMetric.SESSIONS, *_MEANS]),
            scope=scopes,
            breakdown=breakdowns(key_lists, st.just(_KEPT_ALL)),
        ),
    )


def _rankings(scopes, dimensions, properties, metrics):
    return st.builds(
        TopK,
        dimension=st.sampled_from(dimensions),
        property=properties,
        scope=scopes,
        metric=st.sampled_from(metrics),
        metric_property=st.sampled_from(["n", "plan"]),
        limit=st.integers(1, 4),
        omit_others=st.booleans(),
    ).filter(lambda asked: asked.dimension is not Dimension.USER or asked.metric not in _OF_PEOPLE)


_OF_PEOPLE = [Aggregation.UNIQUE_USERS, Aggregation.PER_USER_AVG]
_FUNNELS = st.builds(
    Funnel,
    steps=st.lists(STEPS, min_size=1, max_size=4).map(tuple),
    breakdown=_SPLITS,
    conversion_window_seconds=st.sampled_from([None, 1, 2, 5, 60, 86_400]),
    include_step_timing=st.booleans(),
)
_RETENTIONS = st.builds(
    Retention, events=st.lists(STEPS, min_size=1, max_size=2).map(tuple), breakdown=_SPLITS
)
_FLOWS = st.builds(
    UserFlow,
    node_property=st.one_of(st.just(""), KEYS),
    scope=SCOPES,
    hops_max=st.integers(1, 10),
    nodes_max=st.integers(2, 6),
    links_max=st.integers(1, 12),
)


async def _answers(store, events, asked, **how):
    """Each question with its answers, from every source that may give one."""
    project = f"types-{next(_PROJECTS)}"
    await store.insert(make_rows(project, events))
    for spec in asked:
        plan = plan_insight(spec, project_id=project, now_ms=NOW_MS, **how)
        yield spec, await ClickHouseInsights(store).answer(plan)
        if getattr(plan, "source", Source.EVENTS) is not Source.EVENTS:
            plan = replace(plan, source=Source.EVENTS)
            yield spec, await ClickHouseInsights(store).answer(plan)
        elif isinstance(plan, SessionNumberPlan | SessionTrendsPlan):
            raw = replace(plan, sessions=replace(plan.sessions, source=Source.EVENTS))
            if raw != plan:
                yield spec, await ClickHouseInsights(store).answer(raw)


def _close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@RANDOM
@given(
    events=WALKS,
    asked=st.lists(
        st.one_of(specs(_numbers(SCOPES)), whole_days(_numbers(KIND_SCOPES))),
        min_size=1,
        max_size=4,
    ),
)
async def test_session_numbers_are_the_oracles(event_store, events, asked) -> None:
    """Whole sessions by where they start, from events and roll-up [insights 11, 20]."""
    async for spec, answer in _answers(event_store, events, asked):
        assert answer.total == _close(session_number(spec, events))


@RANDOM
@given(
    events=WALKS,
    asked=st.lists(
        st.one_of(
            specs(_session_trends(SCOPES, _KEY_LISTS)),
            whole_days(_session_trends(KIND_SCOPES, _ROLLUP_KEY_LISTS)),
        ),
        min_size=1,
        max_size=4,
    ),
)
async def test_session_trends_are_the_oracles(event_store, events, asked) -> None:
    """First and last touch, by bucket of the start, from events and roll-up [insights 11, 20]."""
    async for spec, answer in _answers(event_store, events, asked):
        keys = [(series.kind, series.breakdown) for series in answer.series]
        if len(keys) == len(set(keys)):  # no real `$others` beside the rest
            assert {
                (series.kind, tuple(value for _, value in series.breakdown)): [
                    (point.time_ms, _close(point.value)) for point in series.points
                ]
                for series in answer.series
            } == session_trends(spec, events)


@RANDOM
@given(
    events=WALKS,
    asked=st.lists(
        st.one_of(
            specs(_rankings(SCOPES, [*Dimension][:3], KEYS, [*Aggregation])),
            whole_days(
                _rankings(
                    KIND_SCOPES,
                    [Dimension.PROPERTY, Dimension.EVENT_KIND],
                    st.sampled_from(["$os", "$country"]),
                    [Aggregation.TOTAL, *_OF_PEOPLE],
                )
            ),
        ),
        min_size=1,
        max_size=4,
    ),
)
async def test_rankings_are_the_oracles(event_store, events, asked) -> None:
    """Rows, ties and the exact rest, from events and roll-up [insights 15, 20]."""
    async for spec, answer in _answers(event_store, events, asked):
        told = [(row.value, row.is_rest, row.amount) for row in answer.rows]
        assert told == [(*row, _close(amount)) for *row, amount in ranking(spec, events)]


@RANDOM
@given(events=WALKS, asked=st.lists(specs(_FUNNELS), min_size=1, max_size=4))
async def test_funnels_are_the_oracles(event_store, events, asked) -> None:
    """Chains of any start, times of the first, tuples of the earliest match [insights 12]."""
    async for spec, answer in _answers(event_store, events, asked):
        told = [
            (
                tuple(value for _, value in series.breakdown),
                [step.total for step in series.steps],
                [
                    step.times
                    and (
                        step.times.mean_ns,
                        step.times.median_ns,
                        step.times.p95_ns,
                        step.times.counts,
                    )
                    for step in series.steps
                ],
            )
            for series in answer.series
        ]
        assert sorted(told, key=repr) == sorted(funnel(spec, events), key=repr)


@RANDOM
@given(events=WALKS, asked=st.lists(specs(_RETENTIONS), min_size=1, max_size=4))
async def test_retention_is_the_oracles(event_store, events, asked) -> None:
    """Cohorts, exact returns, labels and the pooled rest [insights 13]."""
    async for spec, answer in _answers(event_store, events, asked):
        told = [
            (
                tuple(value for _, value in series.breakdown),
                [
                    (
                        cohort.label,
                        cohort.size,
                        [(point.time_ms, _close(point.percent)) for point in cohort.points],
                    )
                    for cohort in series.cohorts
                ],
            )
            for series in answer.series
        ]
        expected = sorted(retention(spec, events).items())
        assert told == [(split, cohorts) for (_, split), cohorts in expected]


@RANDOM
@given(events=WALKS, asked=st.lists(specs(_FLOWS), min_size=1, max_size=4), layered=st.booleans())
async def test_flows_are_the_oracles(event_store, events, asked, layered) -> None:
    """Edges by session, the fold, ties and cuts, with and without depths [insights 14]."""
    async for spec, answer in _answers(event_store, events, asked, layered_flows=layered):
        expected = user_flow(spec, events, layered=layered)
        told = [
            (
                link.source.depth,
                *answer_end(link.source),
                *answer_end(link.target),
                link.sessions,
            )
            for link in answer.links
        ]
        assert told == expected
        step = 1 if layered else 0
        assert all(link.target.depth == link.source.depth + step for link in answer.links)


def answer_end(end):
    return ("$others" if end.is_rest else end.name, end.is_rest)
