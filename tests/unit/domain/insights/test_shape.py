"""Rows to series: order and labels [insights 8, 9]."""

from appliance.domain.insights.plan import TrendsPlan, plan_insight
from appliance.domain.insights.shape import TrendRow, shape_trends
from appliance.domain.insights.spec import (
    Breakdown,
    Granularity,
    InsightSpec,
    TimeRange,
    Trends,
)

_DAY = 86_400_000


def _plan(*keys: str) -> TrendsPlan:
    spec = InsightSpec(
        question=Trends(breakdown=Breakdown(properties=keys)),
        range=TimeRange(start_ms=0, end_ms=3 * _DAY),
        granularity=Granularity.DAY,
    )
    plan = plan_insight(spec, project_id="p", now_ms=0)
    assert isinstance(plan, TrendsPlan)
    return plan


def _row(kind: str, day: int, value: float, *values: str, event: int = 0, is_rest: bool = False):
    return TrendRow(
        event=event, kind=kind, values=values, is_rest=is_rest, bucket_ms=day * _DAY, value=value
    )


def test_series_without_breakdown_follow_their_first_point() -> None:
    """First point's time, then kind; points ascend."""
    rows = [_row("b", 2, 1), _row("b", 0, 5), _row("a", 1, 1), _row("c", 0, 1)]
    answer = shape_trends(_plan(), rows)
    assert [series.kind for series in answer.series] == ["b", "c", "a"]
    assert [(point.time_ms, point.value) for point in answer.series[0].points] == [
        (0, 5),
        (2 * _DAY, 1),
    ]


def test_series_of_a_breakdown_go_by_total_and_the_rest_is_last() -> None:
    """Kinds ascending, totals descending, ties by value in bytes, `$others` at the end."""
    rows = [
        _row("b", 0, 1, "x"),
        _row("a", 0, 9, is_rest=True),
        _row("a", 0, 1, "é"),
        _row("a", 0, 1, "B"),
        _row("a", 0, 1, "$others"),
        _row("a", 0, 1, "top"),
        _row("a", 1, 1, "top"),
    ]
    answer = shape_trends(_plan("k"), rows)
    assert [(series.kind, series.breakdown) for series in answer.series] == [
        ("a", (("k", "top"),)),
        ("a", (("k", "$others"),)),
        ("a", (("k", "B"),)),
        ("a", (("k", "é"),)),
        ("a", (("k", "$others"),)),
        ("b", (("k", "x"),)),
    ]


def test_the_rest_stands_under_every_property() -> None:
    """[insights 9.1]"""
    (series,) = shape_trends(_plan("k", "l"), [_row("a", 0, 1, is_rest=True)]).series
    assert series.breakdown == (("k", "$others"), ("l", "$others"))


def test_two_events_of_one_kind_share_a_series_in_the_order_asked() -> None:
    """[insights 22.6]"""
    (series,) = shape_trends(_plan(), [_row("a", 0, 1, event=1), _row("a", 0, 2)]).series
    assert [point.value for point in series.points] == [2, 1]


def test_nothing_found_is_no_series() -> None:
    assert shape_trends(_plan(), []).series == ()
