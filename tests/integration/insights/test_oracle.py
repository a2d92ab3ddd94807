"""Random events and random questions: events = roll-up = oracle."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.route import Source
from appliance.domain.insights.spec import (
    Aggregation,
    Breakdown,
    EventCondition,
    EventQuery,
    FilterGroup,
    FilterGroups,
    Granularity,
    InsightSpec,
    Logic,
    Operator,
    PropertyFilter,
    Segmentation,
    TimeRange,
    Trends,
)
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.support import oracle
from tests.support.event_rows import make_rows

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

EXAMPLES = 60
_PROJECTS = count()
_START = datetime(2025, 3, 1, tzinfo=UTC)
_DAY_MS = 86_400_000
_START_MS = int(_START.timestamp()) * 1000
_NOW_MS = _START_MS + 400 * _DAY_MS
_ZONES = ["", "UTC", "America/New_York", "Asia/Kathmandu", "Asia/Beirut", "Pacific/Chatham"]
_TEXTS = ["", "a", "B", "é", "5", "1e1", "x'y", "\\", "{p0:String}", "$others", "5 ", "0x1"]
_SLOTS = st.one_of(
    st.sampled_from(_TEXTS),
    st.integers(-20, 20).map(lambda n: {"int": n}),
    st.integers(-80, 80).map(lambda n: {"double": n / 4}),
    st.booleans().map(lambda b: {"bool": b}),
    st.just({"time": "2025-01-02T03:04:05.600Z"}),
)


def _iso(offset_ms: int) -> str:
    return (_START + timedelta(milliseconds=offset_ms)).isoformat(timespec="milliseconds")[
        :23
    ] + "Z"


_EVENT = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["a", "a", "b", "c"]),
        "distinct_id": st.sampled_from(["u1", "u2", "u3", "cookieless-1", "cookieless-2"]),
        "session_id": st.just("00000000-0000-4000-8000-000000000001"),
        "occur_time": st.one_of(
            st.integers(0, 45 * _DAY_MS),
            st.integers(0, 45 * 24).map(lambda hour: hour * 3_600_000),
            st.integers(_DAY_MS, 2 * _DAY_MS),
        ).map(_iso),
        "auto": st.fixed_dictionaries(
            {"$os": st.sampled_from(_TEXTS)}, optional={"$country": st.sampled_from(_TEXTS)}
        ),
        "custom": st.fixed_dictionaries({"n": _SLOTS}, optional={"plan": _SLOTS}),
    }
)
_EVENTS = st.one_of(st.lists(_EVENT, max_size=4), st.lists(_EVENT, min_size=15, max_size=40))

_KEYS = st.sampled_from(["n", "plan", "$os", "$mobile", "$nothing"])
_NUMBERS = st.sampled_from(["5", "-2.5", "1e1", "0"])


@st.composite
def _filters(draw) -> PropertyFilter:
    operator = draw(st.sampled_from(list(Operator)))
    key = draw(_KEYS)
    if operator in {Operator.LT, Operator.LTE, Operator.GT, Operator.GTE}:
        return PropertyFilter(property=key, operator=operator, value=draw(_NUMBERS))
    if operator in {Operator.BETWEEN, Operator.NOT_BETWEEN}:
        return PropertyFilter(property=key, operator=operator, values=(draw(_NUMBERS), "7"))
    if operator in {Operator.IN, Operator.NOT_IN}:
        values = tuple(draw(st.lists(st.sampled_from(_TEXTS), min_size=1, max_size=3)))
        return PropertyFilter(property=key, operator=operator, values=values)
    if operator in {Operator.IS_SET, Operator.IS_NOT_SET}:
        return PropertyFilter(property=key, operator=operator)
    value = draw(st.sampled_from([text for text in _TEXTS if text]))
    return PropertyFilter(property=key, operator=operator, value=value)


_LOGIC = st.sampled_from(list(Logic))
_GROUP = st.builds(
    FilterGroup,
    filters=st.lists(_filters(), min_size=1, max_size=3).map(tuple),
    logic=_LOGIC,
)
_GROUPS = st.builds(
    FilterGroups,
    groups=st.one_of(st.just([]), st.lists(_GROUP, min_size=1, max_size=2)).map(tuple),
    logic=_LOGIC,
)


def _queries(kinds, aggregations, filters):
    return st.builds(
        EventQuery,
        condition=st.builds(EventCondition, kind=st.sampled_from(kinds), filters=filters),
        aggregation=st.sampled_from(aggregations),
        aggregation_property=st.just("n"),
    )


_ANY_QUERY = _queries(
    ["", "a", "a", "b"],
    list(Aggregation),
    st.one_of(st.just([]), st.lists(_filters(), min_size=1, max_size=2)).map(tuple),
)
_COUNTABLE_QUERY = _queries(
    ["a", "b", "c"],
    [Aggregation.TOTAL, Aggregation.UNIQUE_USERS, Aggregation.PER_USER_AVG],
    st.just(()),
)


@st.composite
def _ranges(draw, granularity: Granularity) -> TimeRange:
    days = {Granularity.MINUTE: 0.25, Granularity.HOUR: 14}.get(granularity, 50)
    if draw(st.booleans()):  # wide, and over the crowded second day
        offset = draw(st.sampled_from([0, 1, 1_800_000, _DAY_MS // 2]))
        start = _DAY_MS + offset - (0 if days < 1 else _DAY_MS)
        length = int(days * _DAY_MS)
    else:
        start = draw(st.integers(-5 * _DAY_MS, 40 * _DAY_MS))
        length = draw(st.integers(1, int(days * _DAY_MS)))
    return TimeRange(start_ms=_START_MS + start, end_ms=_START_MS + start + length)


@st.composite
def _any_trend(draw) -> InsightSpec:
    granularity = draw(st.sampled_from(list(Granularity)))
    keys = draw(st.lists(_KEYS, max_size=2, unique=True))
    return InsightSpec(
        question=Trends(
            events=tuple(draw(st.lists(_ANY_QUERY, max_size=3))),
            breakdown=Breakdown(properties=tuple(keys), limit=draw(st.integers(1, 4))),
        ),
        range=draw(_ranges(granularity)),
        granularity=granularity,
        zone=draw(st.sampled_from(_ZONES)),
        filters=draw(_GROUPS),
        include_cookieless=draw(st.booleans()),
    )


@st.composite
def _rollup_trend(draw) -> InsightSpec:
    keys = draw(st.sampled_from([(), ("$os",), ("$country",)]))
    first, days = draw(
        st.one_of(st.just((0, 46)), st.tuples(st.integers(-3, 44), st.integers(1, 50)))
    )
    return InsightSpec(
        question=Trends(
            events=tuple(draw(st.lists(_COUNTABLE_QUERY, min_size=1, max_size=3))),
            breakdown=Breakdown(properties=keys, limit=draw(st.integers(1, 4))),
        ),
        range=TimeRange(
            start_ms=_START_MS + first * _DAY_MS, end_ms=_START_MS + (first + days) * _DAY_MS
        ),
        granularity=draw(st.sampled_from([Granularity.DAY, Granularity.WEEK, Granularity.MONTH])),
        include_cookieless=draw(st.booleans()),
    )


def _served(answer) -> oracle.Answer:
    """The answer in the oracle's form; a real `$others` and the rest share one entry."""
    found: oracle.Answer = {}
    for series in answer.series:
        values = tuple(value for _, value in series.breakdown)
        points = found.setdefault((series.kind, values), [])
        points += [(point.time_ms, pytest.approx(point.value, rel=1e-9)) for point in series.points]
    return found


def _has_real_others(answer) -> bool:
    keys = [(series.kind, series.breakdown) for series in answer.series]
    return len(keys) != len(set(keys))


async def _answer(store, spec: InsightSpec, project: str, source: Source | None = None):
    plan = plan_insight(spec, project_id=project, now_ms=_NOW_MS)
    assert source is None or plan.source is Source.EVENT_ROLLUP, "the control arm: it may be used"
    plan = plan if source is None else replace(plan, source=source)
    return await ClickHouseInsights(store).answer(plan)


_RANDOM = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@_RANDOM
@given(events=_EVENTS, specs=st.lists(_any_trend(), min_size=1, max_size=4))
async def test_trends_from_events_are_the_oracles(event_store, events, specs) -> None:
    """Any filter, zone, width, breakdown and aggregation [insights 3 to 9]."""
    project = f"trends-{next(_PROJECTS)}"

    await event_store.insert(make_rows(project, events))
    for spec in specs:
        answer = await _answer(event_store, spec, project)
        if not _has_real_others(answer):
            assert _served(answer) == oracle.trends(spec, events, is_rest_exact=False)


@_RANDOM
@given(events=_EVENTS, specs=st.lists(_rollup_trend(), min_size=1, max_size=4))
async def test_both_sources_give_the_oracles_trend(event_store, events, specs) -> None:
    """What the roll-up may answer, it answers like the events [insights 20]."""
    project = f"rollup-{next(_PROJECTS)}"

    await event_store.insert(make_rows(project, events))
    for spec in specs:
        for source in (Source.EVENTS, Source.EVENT_ROLLUP):
            answer = await _answer(event_store, spec, project, source)
            is_exact = source is Source.EVENT_ROLLUP
            if not _has_real_others(answer):
                assert _served(answer) == oracle.trends(spec, events, is_rest_exact=is_exact)


@_RANDOM
@given(events=_EVENTS, trend=st.one_of(_any_trend(), _rollup_trend()))
async def test_totals_are_the_oracles(event_store, events, trend) -> None:
    """One number over the same conditions, from every source that may answer [insights 10]."""
    asked = trend.question.events
    if len(asked) > 1:
        asked = tuple(query for query in asked if not query.condition.is_empty)
    spec = replace(trend, question=Segmentation(events=asked))
    project = f"totals-{next(_PROJECTS)}"

    await event_store.insert(make_rows(project, events))
    plan = plan_insight(spec, project_id=project, now_ms=_NOW_MS)
    for source in {Source.EVENTS, plan.source}:
        answer = await ClickHouseInsights(event_store).answer(replace(plan, source=source))
        expected = oracle.segmentation(spec, events)
        assert answer.total == pytest.approx(expected, rel=1e-9, abs=1e-9)
