"""Session metrics: which sessions count and what is told about them [insights 11].

Invariant: a session is measured over all its participating events, wherever they lie in time, and
counts where it starts. Of equal instants the lesser event id is the first [insights 23.1]. What is
not split is told from sums, the same for every metric (`session_sums.py`).
"""

from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.breakdown import BreakdownPlan, plan_breakdown
from appliance.domain.insights.filters import AllOf, Condition, plan_event_condition, plan_groups
from appliance.domain.insights.route import Source
from appliance.domain.insights.spec import (
    InsightSpec,
    SessionMetric,
    SessionNumber,
    SessionTrends,
    TimeRange,
)
from appliance.domain.insights.window import Buckets, load_zone, make_buckets

LABEL: Final = "$session"
"""The kind of a series without a scope kind."""


class SessionsPlan(Struct, frozen=True, kw_only=True):
    """Which events take part, and when their session must start."""

    project_id: str
    source: Source
    range: TimeRange
    filters: Condition
    kind: str
    scope: AllOf


class SessionNumberPlan(Struct, frozen=True, kw_only=True, tag=True):
    """One number over the sessions of the window.

    `starts_ms` are those of the buckets that a trend of the same window has.
    """

    sessions: SessionsPlan
    metric: SessionMetric
    starts_ms: tuple[int, ...]


class SessionTrendsPlan(Struct, frozen=True, kw_only=True, tag=True):
    """The number for each bucket of starts, and for each value of the first or last event."""

    sessions: SessionsPlan
    metric: SessionMetric
    buckets: Buckets
    breakdown: BreakdownPlan

    @property
    def label(self) -> str:
        """The kind that the series carry."""
        return self.sessions.kind or LABEL


def plan_session_number(
    spec: InsightSpec, asked: SessionNumber, *, project_id: str, source: Source
) -> SessionNumberPlan:
    """What will be computed; raises InvalidInputError (`INVALID_INSIGHT_QUERY`)."""
    zone = load_zone(spec.zone)
    return SessionNumberPlan(
        sessions=_plan_sessions(spec, asked, project_id, source),
        metric=asked.metric,
        starts_ms=_starts_of(spec, zone),
    )


def plan_session_trends(
    spec: InsightSpec, asked: SessionTrends, *, project_id: str, source: Source
) -> SessionTrendsPlan:
    """What will be computed; raises InvalidInputError (`INVALID_INSIGHT_QUERY`)."""
    return SessionTrendsPlan(
        sessions=_plan_sessions(spec, asked, project_id, source),
        metric=asked.metric,
        buckets=make_buckets(spec.range, spec.granularity, load_zone(spec.zone)),
        breakdown=plan_breakdown(asked.breakdown),
    )


def _plan_sessions(
    spec: InsightSpec, asked: SessionNumber | SessionTrends, project_id: str, source: Source
) -> SessionsPlan:
    return SessionsPlan(
        project_id=project_id,
        source=source,
        range=spec.range,
        filters=plan_groups(spec.filters),
        kind=asked.scope.kind,
        scope=plan_event_condition(asked.scope),
    )


def _starts_of(spec: InsightSpec, zone: ZoneInfo) -> tuple[int, ...]:
    try:
        return make_buckets(spec.range, spec.granularity, zone).starts_ms
    except InvalidInputError:
        return (spec.range.start_ms,)  # a number is told of windows too long for a trend, too
