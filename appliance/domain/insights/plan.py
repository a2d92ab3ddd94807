"""From what was asked to what will be computed: one decided plan per insight type.

Invariant: a plan leaves nothing to decide and nothing to refuse: instants, bucket edges, source,
resolved conditions, measures and limits. Compilers in `storage/clickhouse/insights/` only write it
down, `shape.py` only reads the rows back.
"""

from typing import Final, assert_never

from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.breakdown import BreakdownPlan, plan_breakdown
from appliance.domain.insights.filters import (
    FILTERS_MAX,
    AnyOf,
    Condition,
    plan_event_condition,
    plan_groups,
)
from appliance.domain.insights.funnel import FunnelPlan, plan_funnel
from appliance.domain.insights.measures import Measure, counts_people, plan_measure
from appliance.domain.insights.ranking import RankingPlan, plan_ranking
from appliance.domain.insights.retention import RetentionPlan, plan_retention
from appliance.domain.insights.route import Source, choose_source
from appliance.domain.insights.sessions import (
    SessionNumberPlan,
    SessionTrendsPlan,
    plan_session_number,
    plan_session_trends,
)
from appliance.domain.insights.spec import (
    EventQuery,
    Funnel,
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
from appliance.domain.insights.user_flow import UserFlowPlan, plan_user_flow
from appliance.domain.insights.window import Buckets, load_zone, make_buckets

EVENTS_MAX: Final = 200
"""Events of one trend or segmentation; the contract sets no limit, a statement has one."""


class SeriesPlan(Struct, frozen=True, kw_only=True):
    """One asked event: which rows, and what over them. An empty kind is any kind."""

    kind: str
    condition: Condition
    measure: Measure


class TrendsPlan(Struct, frozen=True, kw_only=True, tag=True):
    """`has_shared_grid`: every series gets a point in every cell that any of them has."""

    project_id: str
    source: Source
    range: TimeRange
    buckets: Buckets
    filters: Condition
    series: tuple[SeriesPlan, ...]
    has_shared_grid: bool
    breakdown: BreakdownPlan

    @property
    def counts_people(self) -> bool:
        """Whether any series needs sets of ids."""
        return any(counts_people(series.measure) for series in self.series)


class SegmentationPlan(Struct, frozen=True, kw_only=True, tag=True):
    """One measure over the rows that match any of the asked events."""

    project_id: str
    source: Source
    range: TimeRange
    filters: Condition
    matches: Condition
    measure: Measure

    @property
    def counts_people(self) -> bool:
        """Whether a set of ids is needed."""
        return counts_people(self.measure)


InsightPlan = (
    TrendsPlan
    | SegmentationPlan
    | SessionTrendsPlan
    | SessionNumberPlan
    | FunnelPlan
    | RetentionPlan
    | UserFlowPlan
    | RankingPlan
)


def plan_insight(
    spec: InsightSpec, *, project_id: str, now_ms: int, layered_flows: bool = False
) -> InsightPlan:
    """What will be computed for a spec at the request time `now_ms`.

    `layered_flows`: user flows tell depths (decision 0038).

    Raises InvalidInputError (`INVALID_INSIGHT_QUERY`) for what the contract lets the handler
    refuse [insights 21.3].
    """
    assert project_id, "a question without a project would see every project"
    _check_size(spec)
    source = choose_source(spec, now_ms)
    planned: InsightPlan
    match spec.question:
        case Trends() as trends:
            planned = _plan_trends(spec, trends, project_id, source)
        case Segmentation() as segmentation:
            planned = _plan_segmentation(spec, segmentation, project_id, source)
        case TopK() as ranking:
            planned = plan_ranking(spec, ranking, project_id=project_id, source=source)
        case SessionTrends() as sessions:
            planned = plan_session_trends(spec, sessions, project_id=project_id, source=source)
        case SessionNumber() as number:
            planned = plan_session_number(spec, number, project_id=project_id, source=source)
        case Funnel() as funnel:
            planned = plan_funnel(spec, funnel, project_id=project_id)
        case Retention() as retention:
            planned = plan_retention(spec, retention, project_id=project_id)
        case UserFlow() as flow:
            planned = plan_user_flow(spec, flow, project_id=project_id, layered=layered_flows)
        case _:
            assert_never(spec.question)
    return planned


def _plan_trends(spec: InsightSpec, trends: Trends, project_id: str, source: Source) -> TrendsPlan:
    events = trends.events or (EventQuery(),)
    return TrendsPlan(
        project_id=project_id,
        source=source,
        range=spec.range,
        buckets=make_buckets(spec.range, spec.granularity, load_zone(spec.zone)),
        filters=plan_groups(spec.filters),
        series=tuple(_plan_series(spec, event) for event in events),
        has_shared_grid=len(events) > 1 and all(event.condition.kind for event in events),
        breakdown=plan_breakdown(trends.breakdown),
    )


def _plan_series(spec: InsightSpec, event: EventQuery) -> SeriesPlan:
    return SeriesPlan(
        kind=event.condition.kind,
        condition=plan_event_condition(event.condition),
        measure=_plan_measure(spec, event),
    )


def _plan_segmentation(
    spec: InsightSpec, segmentation: Segmentation, project_id: str, source: Source
) -> SegmentationPlan:
    first, *_ = segmentation.events or (EventQuery(),)
    matches = plan_any_event(segmentation.events)
    load_zone(spec.zone)
    return SegmentationPlan(
        project_id=project_id,
        source=source,
        range=spec.range,
        filters=plan_groups(spec.filters),
        matches=matches,
        measure=_plan_measure(spec, first),
    )


def plan_any_event(events: tuple[EventQuery, ...]) -> Condition:
    """What holds for a row that any of the asked events matches; everything for none.

    Raises InvalidInputError (`INVALID_INSIGHT_QUERY`) for events that cannot be joined.
    """
    if any(not event.is_condition_sent for event in events):
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "an event without an event filter")
    if len(events) > 1 and any(event.condition.is_empty for event in events):
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "an empty event filter among several")
    asked = events or (EventQuery(),)
    return AnyOf(tuple(plan_event_condition(event.condition) for event in asked))


def _plan_measure(spec: InsightSpec, event: EventQuery) -> Measure:
    return plan_measure(
        event.aggregation,
        event.aggregation_property,
        include_cookieless=spec.include_cookieless,
    )


def _check_size(spec: InsightSpec) -> None:
    events: tuple[EventQuery, ...] = ()
    if isinstance(spec.question, Trends | Segmentation):
        events = spec.question.events
    filters = sum(len(group.filters) for group in spec.filters.groups)
    filters += sum(len(event.condition.filters) for event in events)
    if len(events) > EVENTS_MAX or filters > FILTERS_MAX:
        raise InvalidInputError(
            "INVALID_INSIGHT_QUERY",
            f"more than {EVENTS_MAX} events or {FILTERS_MAX} filters in one question",
        )
