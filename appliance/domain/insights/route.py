"""Which stored thing may answer: the events themselves or one of the two daily tables.

Invariant: a roll-up is chosen only where its answer equals that of the events [insights 20]; in
doubt, events. The answer depends on nothing but the spec and the request time. The 40 cases of the
shared vectors (`routing`) are the tests.
"""

from enum import StrEnum
from typing import Final, assert_never

from appliance.domain.insights.dimensions import (
    EVENT_DIMENSIONS,
    SESSION_DIMENSIONS,
    Promoted,
    find_promoted,
)
from appliance.domain.insights.spec import (
    Aggregation,
    Breakdown,
    Dimension,
    EventCondition,
    EventQuery,
    Funnel,
    Granularity,
    InsightSpec,
    Retention,
    Segmentation,
    SessionNumber,
    SessionTrends,
    TimeRange,
    TopK,
    Trends,
    UserFlow,
)

DAY_MS: Final = 86_400_000

_COARSE: Final = frozenset({Granularity.DAY, Granularity.WEEK, Granularity.MONTH})
COARSE_DATES: Final = frozenset({Granularity.WEEK, Granularity.MONTH})
"""Widths whose buckets are told as dates [insights 3.2]."""

_COUNTABLE: Final = frozenset(
    {Aggregation.TOTAL, Aggregation.UNIQUE_USERS, Aggregation.PER_USER_AVG}
)
_UTC: Final = frozenset({"", "UTC"})


class Source(StrEnum):
    """Who answers; the words are those of the shared vectors."""

    EVENTS = "raw"
    EVENT_ROLLUP = "event rollup"
    SESSION_ROLLUP = "session rollup"


def choose_source(spec: InsightSpec, now_ms: int) -> Source:
    """The cheapest source with the right answer at the request time `now_ms` [insights 20]."""
    if spec.filters.groups or not _covers_whole_days(spec.range, now_ms):
        return Source.EVENTS
    rollup = _matching_rollup(spec)
    return rollup if rollup is not None else Source.EVENTS


def _matching_rollup(spec: InsightSpec) -> Source | None:
    fits = False
    source = Source.EVENT_ROLLUP
    match spec.question:
        case Trends(events=events, breakdown=breakdown):
            fits = _has_utc_days(spec) and _are_countable(events)
            fits = fits and _splits_by(breakdown, EVENT_DIMENSIONS)
        case Segmentation(events=events):
            fits = _has_utc_days(spec) and _are_countable(events)
        case TopK() as ranking:
            fits = _is_ranked_by_day(ranking)
        case SessionTrends(scope=scope, breakdown=breakdown):
            source = Source.SESSION_ROLLUP
            fits = _has_utc_days(spec) and _is_kind_only(scope)
            fits = fits and _splits_by(breakdown, SESSION_DIMENSIONS)
        case SessionNumber(scope=scope):
            source = Source.SESSION_ROLLUP
            fits = _has_utc_days(spec) and _is_kind_only(scope)
        case Funnel() | Retention() | UserFlow():
            pass
        case _:
            assert_never(spec.question)
    return source if fits else None


def _covers_whole_days(window: TimeRange, now_ms: int) -> bool:
    if window.start_ms % DAY_MS:
        return False
    return window.end_ms % DAY_MS == 0 or window.end_ms >= now_ms


def _has_utc_days(spec: InsightSpec) -> bool:
    return spec.zone in _UTC and spec.granularity in _COARSE


def _are_countable(events: tuple[EventQuery, ...]) -> bool:
    return bool(events) and all(
        event.condition.kind and not event.condition.filters and event.aggregation in _COUNTABLE
        for event in events
    )


def _splits_by(breakdown: Breakdown, dimensions: frozenset[Promoted]) -> bool:
    if len(breakdown.properties) > 1:
        return False
    return all(find_promoted(key) in dimensions for key in breakdown.properties)


def _is_kind_only(scope: EventCondition) -> bool:
    return not scope.filters


def _is_ranked_by_day(ranking: TopK) -> bool:
    if ranking.metric not in _COUNTABLE or not _is_kind_only(ranking.scope):
        return False
    match ranking.dimension:
        case Dimension.EVENT_KIND | Dimension.COUNTRY:
            return True
        case Dimension.PROPERTY:
            return find_promoted(ranking.property) in EVENT_DIMENSIONS
        case Dimension.USER:
            return False
        case _:
            assert_never(ranking.dimension)
