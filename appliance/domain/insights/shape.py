"""From rows to the answer: series, points and their order.

Invariant: nothing is invented here. Zeros of the shared grid and the rest of a breakdown come from
the statement; silent buckets stay away [insights 3.3]. Series are keyed by kind and breakdown; the
order is that of [insights 8], the same for both sources.
"""

from collections import defaultdict

from msgspec import Struct

from appliance.domain.insights.funnel import FunnelAnswer
from appliance.domain.insights.plan import TrendsPlan
from appliance.domain.insights.ranking import OTHERS, RankingAnswer
from appliance.domain.insights.retention import RetentionAnswer
from appliance.domain.insights.sessions import SessionTrendsPlan
from appliance.domain.insights.user_flow import UserFlowAnswer


class TrendRow(Struct, frozen=True, kw_only=True):
    """One value: `event` is the index of the asked event, `bucket_ms` the edge of its bucket.

    `values` is empty without breakdown, and for the rest (`is_rest`).
    """

    event: int
    kind: str
    values: tuple[str, ...]
    is_rest: bool
    bucket_ms: int
    value: float


class Point(Struct, frozen=True, kw_only=True):
    """A value at a bucket label, in milliseconds since 1970 UTC."""

    time_ms: int
    value: float


class TrendSeries(Struct, frozen=True, kw_only=True):
    """Points ascending in time; `breakdown` pairs property and value in the order asked."""

    kind: str
    breakdown: tuple[tuple[str, str], ...]
    points: tuple[Point, ...]


class TrendsAnswer(Struct, frozen=True, kw_only=True, tag=True):
    """A time series per kind and breakdown tuple."""

    series: tuple[TrendSeries, ...]


class SegmentationAnswer(Struct, frozen=True, kw_only=True, tag=True):
    """One number."""

    total: float


InsightAnswer = (
    TrendsAnswer
    | SegmentationAnswer
    | FunnelAnswer
    | RetentionAnswer
    | UserFlowAnswer
    | RankingAnswer
)

_SeriesKey = tuple[str, bool, tuple[str, ...]]


def shape_trends(plan: TrendsPlan | SessionTrendsPlan, rows: list[TrendRow]) -> TrendsAnswer:
    """The answer of a trend; rows may come in any order."""
    labels = dict(zip(plan.buckets.starts_ms, plan.buckets.labels_ms, strict=True))
    series: defaultdict[_SeriesKey, list[TrendRow]] = defaultdict(list)
    for row in rows:
        series[row.kind, row.is_rest, row.values].append(row)
    for points in series.values():
        points.sort(key=_point_order)
    order = _order_split if plan.breakdown.keys else _order_plain
    return TrendsAnswer(
        series=tuple(
            TrendSeries(
                kind=key[0],
                breakdown=_breakdown(plan.breakdown.keys, key),
                points=tuple(
                    Point(time_ms=labels[row.bucket_ms], value=row.value) for row in points
                ),
            )
            for key, points in sorted(series.items(), key=order)
        )
    )


def _point_order(row: TrendRow) -> tuple[int, int]:
    """By time; two events of one kind in the order they were asked [insights 22.6]."""
    return row.bucket_ms, row.event


def _order_plain(item: tuple[_SeriesKey, list[TrendRow]]) -> tuple[int, bytes]:
    (kind, _, _), points = item
    return points[0].bucket_ms, kind.encode()


def _order_split(
    item: tuple[_SeriesKey, list[TrendRow]],
) -> tuple[bytes, bool, float, bytes]:
    (kind, is_rest, values), points = item
    total = sum(row.value for row in points)
    return kind.encode(), is_rest, -total, "\0".join(values).encode()


def _breakdown(keys: tuple[str, ...], key: _SeriesKey) -> tuple[tuple[str, str], ...]:
    _, is_rest, values = key
    if is_rest:
        return tuple((name, OTHERS) for name in keys)
    return tuple(zip(keys, values, strict=True))
