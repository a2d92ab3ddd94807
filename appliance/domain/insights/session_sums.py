"""All session metrics of a window from four sums for each stretch of it.

Invariant: every metric that is not split is a sum over sessions or the ratio of two, so one reading
answers the number and the series of them all. A stretch lies within one bucket of a trend: it is a
UTC day where the roll-up answers [insights 20], else the bucket itself. Decision 0043.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import assert_never

from msgspec import Struct

from appliance.domain.insights.route import Source
from appliance.domain.insights.sessions import SessionNumberPlan, SessionsPlan, SessionTrendsPlan
from appliance.domain.insights.shape import (
    SegmentationAnswer,
    TrendRow,
    TrendsAnswer,
    shape_trends,
)
from appliance.domain.insights.spec import SessionMetric


class SessionSumsPlan(Struct, frozen=True, kw_only=True):
    """Which sessions, and where the stretches begin; without `starts_ms` each is a UTC day."""

    sessions: SessionsPlan
    starts_ms: tuple[int, ...]


class SessionSums(Struct, frozen=True, kw_only=True):
    """The sessions that start in one stretch, which begins at `start_ms`.

    `seconds` are from first to last event, `bounces` sessions of one event.
    """

    start_ms: int
    sessions: int
    seconds: int
    bounces: int
    events: int


def plan_session_sums(plan: SessionNumberPlan | SessionTrendsPlan) -> SessionSumsPlan | None:
    """What a question about sessions is told from; None where it is split by a property."""
    match plan:
        case SessionNumberPlan():
            starts_ms = plan.starts_ms
        case SessionTrendsPlan():
            if plan.breakdown.keys:
                return None
            starts_ms = plan.buckets.starts_ms
        case _:
            assert_never(plan)
    by_day = plan.sessions.source is Source.SESSION_ROLLUP
    return SessionSumsPlan(sessions=plan.sessions, starts_ms=() if by_day else starts_ms)


def shape_session_sums(
    plan: SessionNumberPlan | SessionTrendsPlan, found: Iterable[SessionSums]
) -> SegmentationAnswer | TrendsAnswer:
    """The answer to a question from the sums of its stretches, in any order."""
    match plan:
        case SessionNumberPlan():
            return SegmentationAnswer(total=_value(plan.metric, tuple(found)))
        case SessionTrendsPlan():
            return shape_trends(plan, _rows(plan, found))
        case _:
            assert_never(plan)


def _rows(plan: SessionTrendsPlan, found: Iterable[SessionSums]) -> list[TrendRow]:
    starts = plan.buckets.starts_ms
    buckets: defaultdict[int, list[SessionSums]] = defaultdict(list)
    for sums in found:
        buckets[starts[max(0, bisect_right(starts, sums.start_ms) - 1)]].append(sums)
    return [
        TrendRow(
            event=0,
            kind=plan.label,
            values=(),
            is_rest=False,
            bucket_ms=bucket,
            value=_value(plan.metric, parts),
        )
        for bucket, parts in buckets.items()
        if sum(part.sessions for part in parts) > 0
    ]


def _value(metric: SessionMetric, parts: Sequence[SessionSums]) -> float:
    """A metric over stretches together; 0 without sessions [insights 11]."""
    sessions = sum(part.sessions for part in parts)
    match metric:
        case SessionMetric.SESSIONS | SessionMetric.ENTRY | SessionMetric.EXIT:
            return float(sessions)
        case SessionMetric.AVG_DURATION:
            amount = sum(part.seconds for part in parts)
        case SessionMetric.BOUNCE_RATE:
            amount = 100 * sum(part.bounces for part in parts)
        case SessionMetric.AVG_EVENTS_PER_SESSION:
            amount = sum(part.events for part in parts)
        case _:
            assert_never(metric)
    return amount / sessions if sessions else 0.0
