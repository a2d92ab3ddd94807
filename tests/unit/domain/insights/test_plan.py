"""From questions to plans: what is decided, what is refused."""

import pytest

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.filters import AllOf, AnyOf, KindIs, NumberTest, TextTest
from appliance.domain.insights.plan import EVENTS_MAX, SegmentationPlan, TrendsPlan, plan_insight
from appliance.domain.insights.route import DAY_MS
from appliance.domain.insights.spec import (
    Aggregation,
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


def _plan(question, **changes):
    spec = InsightSpec(
        question=question,
        range=TimeRange(start_ms=0, end_ms=2 * DAY_MS),
        granularity=Granularity.DAY,
        **changes,
    )
    return plan_insight(spec, project_id="p", now_ms=0)


def _event(kind: str = "", aggregation: Aggregation = Aggregation.TOTAL, **changes) -> EventQuery:
    return EventQuery(condition=EventCondition(kind=kind), aggregation=aggregation, **changes)


def _refused(question, **changes) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        _plan(question, **changes)
    assert caught.value.reason == "INVALID_INSIGHT_QUERY"
    return caught.value


def test_no_event_is_one_event_of_any_kind() -> None:
    """[insights 8] A missing or empty trends event means everything."""
    plan = _plan(Trends())
    assert isinstance(plan, TrendsPlan)
    assert plan == _plan(Trends(events=(_event(is_condition_sent=False),)))
    assert [series.condition for series in plan.series] == [AllOf(())]


@pytest.mark.parametrize(
    ("kinds", "is_shared"),
    [(["a"], False), (["a", "b"], True), (["a", ""], False), ([], False)],
)
def test_a_grid_is_shared_by_several_kinds(kinds, is_shared) -> None:
    """[insights 3.3, 8]"""
    plan = _plan(Trends(events=tuple(map(_event, kinds))))
    assert isinstance(plan, TrendsPlan)
    assert plan.has_shared_grid is is_shared


@pytest.mark.parametrize("aggregation", list(Aggregation))
@pytest.mark.parametrize("include", [True, False])
def test_only_counts_of_people_leave_cookieless_traffic_out(aggregation, include) -> None:
    """[insights 7]"""
    question = Trends(events=(_event("a", aggregation, aggregation_property="n"),))
    plan = _plan(question, include_cookieless=include)
    assert isinstance(plan, TrendsPlan)
    counts_people = aggregation in {Aggregation.UNIQUE_USERS, Aggregation.PER_USER_AVG}
    assert plan.series[0].measure.leaves_out_cookieless is (counts_people and not include)


def test_the_first_event_measures_a_segmentation() -> None:
    """[insights 10] Conditions are ORed, aggregation and cookieless rule are the first's."""
    plan = _plan(Segmentation(events=(_event("a", Aggregation.UNIQUE_USERS), _event("b"))))
    assert isinstance(plan, SegmentationPlan)
    assert plan.measure.leaves_out_cookieless
    assert plan.matches == AnyOf((AllOf((KindIs("a"),)), AllOf((KindIs("b"),))))


def test_groups_keep_their_two_levels() -> None:
    """[insights 5.3]"""
    one = PropertyFilter(property="a", operator=Operator.IS_SET)
    two = PropertyFilter(property="b", operator=Operator.BETWEEN, values=("1", "2"))
    group = FilterGroup(filters=(one, two), logic=Logic.OR)
    plan = _plan(Trends(), filters=FilterGroups(groups=(group, group)))
    match plan.filters:
        case AllOf((AnyOf((TextTest(), NumberTest(numbers=(1.0, 2.0)))), AnyOf())):
            pass
        case other:
            pytest.fail(f"not the two levels: {other}")


@pytest.mark.parametrize(
    "bad",
    [
        PropertyFilter(property="a", operator=Operator.GT, value="abc"),
        PropertyFilter(property="a", operator=Operator.BETWEEN, values=("1",)),
        PropertyFilter(property="a", operator=Operator.NOT_BETWEEN, values=("1", "nan")),
        PropertyFilter(property="a..b", operator=Operator.IS_SET, of_profile=True),
    ],
)
def test_operands_that_do_not_fit_are_refused(bad: PropertyFilter) -> None:
    """[insights 21.3]"""
    event = EventQuery(condition=EventCondition(kind="a", filters=(bad,)))
    _refused(Trends(events=(event,)))


def test_what_the_handler_refuses() -> None:
    """[insights 21.3]"""
    _refused(Segmentation(events=(_event(is_condition_sent=False),)))
    _refused(Segmentation(events=(_event("a"), _event())))
    _refused(Trends(), filters=FilterGroups(groups=(FilterGroup(filters=()),)))
    _refused(Trends(), zone="No/Where")
    _refused(Segmentation(), zone="No/Where")
    _refused(Trends(events=(_event("a", Aggregation.SUM),)))
    _refused(Trends(events=(_event("a"),) * (EVENTS_MAX + 1)))


def test_a_single_empty_event_is_everything_to_a_segmentation() -> None:
    """[insights 10]"""
    assert _plan(Segmentation(events=(_event(),))) == _plan(Segmentation())
