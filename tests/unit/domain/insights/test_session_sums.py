"""Numbers and series told from the sums of stretches."""

import pytest
from msgspec.structs import replace

from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.route import DAY_MS, Source
from appliance.domain.insights.session_sums import (
    SessionSums,
    plan_session_sums,
    shape_session_sums,
)
from appliance.domain.insights.sessions import SessionNumberPlan, SessionTrendsPlan
from appliance.domain.insights.shape import Point, SegmentationAnswer, TrendsAnswer
from appliance.domain.insights.spec import (
    Breakdown,
    EventCondition,
    FilterGroup,
    FilterGroups,
    Granularity,
    InsightSpec,
    Operator,
    PropertyFilter,
    SessionMetric,
    SessionNumber,
    SessionTrends,
    TimeRange,
)

START_MS = 20_000 * DAY_MS
"""A Friday."""

NUMBERS = {
    SessionMetric.SESSIONS: 4.0,
    SessionMetric.ENTRY: 4.0,
    SessionMetric.EXIT: 4.0,
    SessionMetric.AVG_DURATION: 17.5,
    SessionMetric.BOUNCE_RATE: 25.0,
    SessionMetric.AVG_EVENTS_PER_SESSION: 2.75,
}
PARTS = (
    SessionSums(start_ms=START_MS, sessions=3, seconds=60, bounces=0, events=10),
    SessionSums(start_ms=START_MS + DAY_MS, sessions=0, seconds=0, bounces=0, events=0),
    SessionSums(start_ms=START_MS + 2 * DAY_MS, sessions=1, seconds=10, bounces=1, events=1),
)
IS_SET = PropertyFilter(property="k", operator=Operator.IS_SET)


def _spec(question, *, granularity=Granularity.DAY, **fields) -> InsightSpec:
    window = TimeRange(start_ms=START_MS, end_ms=START_MS + 3 * DAY_MS)
    return InsightSpec(question=question, range=window, granularity=granularity, **fields)


def _plan(spec: InsightSpec) -> SessionNumberPlan | SessionTrendsPlan:
    plan = plan_insight(spec, project_id="p", now_ms=START_MS)
    assert isinstance(plan, SessionNumberPlan | SessionTrendsPlan)
    return plan


def _points(metric, parts, granularity=Granularity.DAY):
    plan = _plan(_spec(SessionTrends(metric=metric), granularity=granularity))
    answer = shape_session_sums(plan, parts)
    assert isinstance(answer, TrendsAnswer)
    return [point for series in answer.series for point in series.points]


@pytest.mark.parametrize("metric", SessionMetric)
def test_a_number_is_told_of_all_stretches_together(metric) -> None:
    """An average is the ratio of the sums, not the average of averages."""
    plan = _plan(_spec(SessionNumber(metric=metric)))
    assert shape_session_sums(plan, PARTS) == SegmentationAnswer(total=NUMBERS[metric])
    for nothing in ((), PARTS[1:2]):
        assert shape_session_sums(plan, nothing) == SegmentationAnswer(total=0.0)


def test_a_series_has_no_point_where_no_session_starts() -> None:
    points = _points(SessionMetric.AVG_DURATION, reversed(PARTS))
    assert points == [
        Point(time_ms=START_MS, value=20.0),
        Point(time_ms=START_MS + 2 * DAY_MS, value=10.0),
    ]
    assert _points(SessionMetric.SESSIONS, PARTS[1:2]) == []


def test_a_zero_of_a_ratio_is_a_point() -> None:
    assert _points(SessionMetric.BOUNCE_RATE, PARTS[:1]) == [Point(time_ms=START_MS, value=0.0)]


def test_days_are_told_in_their_week_or_month() -> None:
    """Friday and Sunday lie in two weeks; the first begins before the window."""
    weeks = _points(SessionMetric.AVG_EVENTS_PER_SESSION, PARTS, Granularity.WEEK)
    sunday = START_MS + 2 * DAY_MS
    assert weeks == [
        Point(time_ms=sunday - 7 * DAY_MS, value=10 / 3),
        Point(time_ms=sunday, value=1.0),
    ]
    (month,) = _points(SessionMetric.AVG_EVENTS_PER_SESSION, PARTS, Granularity.MONTH)
    assert month.value == 2.75


@pytest.mark.parametrize("granularity", [Granularity.DAY, Granularity.WEEK, Granularity.MONTH])
@pytest.mark.parametrize("metric", SessionMetric)
def test_all_metrics_of_a_window_are_told_from_the_same(metric, granularity) -> None:
    """Whichever the metric, and number or series; of the roll-up also whichever the buckets."""
    whole = plan_session_sums(_plan(_spec(SessionNumber(metric=SessionMetric.SESSIONS))))
    assert whole is not None
    assert whole.sessions.source is Source.SESSION_ROLLUP
    for question in (SessionNumber(metric=metric), SessionTrends(metric=metric)):
        assert plan_session_sums(_plan(_spec(question, granularity=granularity))) == whole
        filtered = _spec(
            question,
            granularity=granularity,
            filters=FilterGroups(groups=(FilterGroup(filters=(IS_SET,)),)),
        )
        of_events = plan_session_sums(_plan(filtered))
        number = replace(filtered, question=SessionNumber(metric=SessionMetric.SESSIONS))
        assert of_events == plan_session_sums(_plan(number))
        assert of_events != whole


def test_other_sessions_are_told_from_others() -> None:
    asked = SessionNumber(metric=SessionMetric.SESSIONS)
    later = TimeRange(start_ms=START_MS, end_ms=START_MS + 3 * DAY_MS + 1)
    viewed = replace(asked, scope=EventCondition(kind="page_view"))
    specs = [_spec(asked), replace(_spec(asked), range=later), _spec(viewed)]
    plans = [plan_session_sums(_plan(spec)) for spec in specs]
    plans.append(plan_session_sums(plan_insight(_spec(asked), project_id="q", now_ms=START_MS)))
    assert len(set(plans)) == len(plans)


def test_what_is_split_has_sessions_of_its_own() -> None:
    split = SessionTrends(metric=SessionMetric.ENTRY, breakdown=Breakdown(properties=("$os",)))
    assert plan_session_sums(_plan(_spec(split))) is None


def test_a_number_is_told_of_a_window_too_long_for_a_series() -> None:
    minutes = _spec(SessionNumber(metric=SessionMetric.SESSIONS), granularity=Granularity.MINUTE)
    sums = plan_session_sums(_plan(minutes))
    assert sums is not None
    assert sums.starts_ms == (START_MS,)
