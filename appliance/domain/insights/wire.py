"""The messages of `shared.insights.v1`, read into a spec and written from an answer.

Invariant: the only place of the insights that knows messages. The request passed the validator;
what is still wrong here is refused as `INVALID_INSIGHT_QUERY`, never guessed. The zone comes from
the project, whatever the client sent [insights 1].
"""

from typing import Final, assert_never

from protobuf import Oneof
from protobuf.wkt.google.protobuf.duration_pb import Duration
from protobuf.wkt.google.protobuf.struct_pb import Struct as Properties
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.base.errors import InvalidInputError, UnservedError
from appliance.domain.insights.dimensions import Promoted
from appliance.domain.insights.funnel import BOUNDS_SECONDS, FunnelAnswer, FunnelSeries, Times
from appliance.domain.insights.ranking import OTHERS, RankedRow, RankingAnswer
from appliance.domain.insights.retention import RetentionAnswer, RetentionSeries
from appliance.domain.insights.shape import (
    InsightAnswer,
    SegmentationAnswer,
    TrendsAnswer,
    TrendSeries,
)
from appliance.domain.insights.spec import (
    BREAKDOWN_LIMIT_DEFAULT,
    COUNTRIES_MAX,
    TOP_K_LIMIT_DEFAULT,
    Aggregation,
    Breakdown,
    Dimension,
    EventCondition,
    EventQuery,
    FilterGroup,
    FilterGroups,
    Funnel,
    Granularity,
    InsightSpec,
    Logic,
    Operator,
    PropertyFilter,
    Question,
    Retention,
    Segmentation,
    SessionMetric,
    SessionNumber,
    SessionTrends,
    TimeRange,
    TopK,
    Trends,
    UserFlow,
)
from appliance.domain.insights.user_flow import FlowEnd, UserFlowAnswer
from appliance.gen.common.v1 import filter_schema_pb, filters_pb, time_pb
from appliance.gen.shared.insights.v1 import insights_pb as pb

_GRANULARITIES: Final = {
    pb.Granularity.MINUTE: Granularity.MINUTE,
    pb.Granularity.HOUR: Granularity.HOUR,
    pb.Granularity.DAY: Granularity.DAY,
    pb.Granularity.WEEK: Granularity.WEEK,
    pb.Granularity.MONTH: Granularity.MONTH,
}
_AGGREGATIONS: Final = {
    pb.AggregationType.UNSPECIFIED: Aggregation.TOTAL,
    pb.AggregationType.TOTAL: Aggregation.TOTAL,
    pb.AggregationType.UNIQUE_USERS: Aggregation.UNIQUE_USERS,
    pb.AggregationType.PER_USER_AVG: Aggregation.PER_USER_AVG,
    pb.AggregationType.SUM: Aggregation.SUM,
    pb.AggregationType.AVG: Aggregation.AVG,
    pb.AggregationType.MIN: Aggregation.MIN,
    pb.AggregationType.MAX: Aggregation.MAX,
}
_METRICS: Final = {
    pb.SessionMetric.SESSIONS: SessionMetric.SESSIONS,
    pb.SessionMetric.AVG_DURATION: SessionMetric.AVG_DURATION,
    pb.SessionMetric.BOUNCE_RATE: SessionMetric.BOUNCE_RATE,
    pb.SessionMetric.ENTRY: SessionMetric.ENTRY,
    pb.SessionMetric.EXIT: SessionMetric.EXIT,
    pb.SessionMetric.AVG_EVENTS_PER_SESSION: SessionMetric.AVG_EVENTS_PER_SESSION,
}
_DIMENSIONS: Final = {
    pb.TopKQuery.Dimension.PROPERTY: Dimension.PROPERTY,
    pb.TopKQuery.Dimension.EVENT_KIND: Dimension.EVENT_KIND,
    pb.TopKQuery.Dimension.USER: Dimension.USER,
}
_OPERATORS: Final = {
    filters_pb.FilterOperator.EQUALS: Operator.EQUALS,
    filters_pb.FilterOperator.NOT_EQUALS: Operator.NOT_EQUALS,
    filters_pb.FilterOperator.CONTAINS: Operator.CONTAINS,
    filters_pb.FilterOperator.NOT_CONTAINS: Operator.NOT_CONTAINS,
    filters_pb.FilterOperator.IS_SET: Operator.IS_SET,
    filters_pb.FilterOperator.IS_NOT_SET: Operator.IS_NOT_SET,
    filters_pb.FilterOperator.LTE: Operator.LTE,
    filters_pb.FilterOperator.GTE: Operator.GTE,
    filters_pb.FilterOperator.LT: Operator.LT,
    filters_pb.FilterOperator.GT: Operator.GT,
    filters_pb.FilterOperator.IN: Operator.IN,
    filters_pb.FilterOperator.NOT_IN: Operator.NOT_IN,
    filters_pb.FilterOperator.BETWEEN: Operator.BETWEEN,
    filters_pb.FilterOperator.NOT_BETWEEN: Operator.NOT_BETWEEN,
}

_TIME_LABELS: Final = (*("0-30s", "30s-2m", "2-5m", "5-15m", "15-60m", "1-6h", "6-24h", "24h+"),)
_NANOS_PER_MS: Final = 1_000_000


def parse_query(request: pb.QueryRequest, *, timezone: str) -> InsightSpec:
    """The spec of a validated request, in the project's zone.

    Raises InvalidInputError for what no validator may let pass, UnservedError for insight types
    of newer clients.
    """
    spec, window = request.spec, request.time_range
    granularity = _GRANULARITIES.get(request.granularity)
    if spec is None or window is None or granularity is None:
        raise _invalid("a query needs a spec, a time range and a granularity")
    return InsightSpec(
        question=_parse_question(spec),
        range=parse_range(window),
        granularity=granularity,
        zone=timezone,
        filters=parse_groups(spec.filter_groups, spec.filter_groups_operator),
        include_cookieless=spec.include_cookieless,
    )


def parse_range(window: time_pb.TimeRange) -> TimeRange:
    """The half-open range in milliseconds.

    Events carry whole milliseconds, so rounding both bounds up keeps exactly the same events.
    """
    if window.from_ is None or window.to is None:
        raise _invalid("a time range needs both ends")
    start_ms, end_ms = _round_up(window.from_), _round_up(window.to)
    if start_ms > end_ms:
        raise _invalid("a time range must begin before it ends")
    return TimeRange(start_ms=start_ms, end_ms=end_ms)


def parse_groups(
    groups: list[pb.FilterGroup], operator: filters_pb.LogicalOperator
) -> FilterGroups:
    """The top-level filters."""
    return FilterGroups(
        groups=tuple(
            FilterGroup(
                filters=tuple(map(parse_filter, group.filters)), logic=parse_logic(group.operator)
            )
            for group in groups
        ),
        logic=parse_logic(operator),
    )


def render_answer(answer: InsightAnswer) -> pb.QueryResponse:
    """The response; its result is always set, also when empty [insights 21.1]."""
    match answer:
        case TrendsAnswer(series=series):
            result = pb.TrendsResult(series=list(map(_render_series, series)))
            return pb.QueryResponse(result=Oneof("trends", result))
        case SegmentationAnswer(total=total):
            result = pb.SegmentationResult(total=total)
            return pb.QueryResponse(result=Oneof("segmentation", result))
        case RankingAnswer(rows=rows):
            result = pb.TopKResult(rows=list(map(_render_ranked, rows)))
            return pb.QueryResponse(result=Oneof("top_k", result))
        case FunnelAnswer(series=series):
            result = pb.FunnelResult(series=list(map(_render_funnel, series)))
            return pb.QueryResponse(result=Oneof("funnel", result))
        case RetentionAnswer(series=series):
            result = pb.RetentionResult(series=list(map(_render_retention, series)))
            return pb.QueryResponse(result=Oneof("retention", result))
        case UserFlowAnswer():
            return pb.QueryResponse(result=Oneof("user_flow", _render_flow(answer)))
        case _:
            assert_never(answer)


def _parse_question(spec: pb.InsightQuerySpec) -> Question:
    match spec.insight_type:
        case pb.InsightType.TRENDS if spec.session is not None:
            return SessionTrends(
                metric=_parse_metric(spec.session),
                scope=parse_condition(spec.session.scope),
                breakdown=_parse_breakdown(spec),
            )
        case pb.InsightType.TRENDS:
            return Trends(events=_parse_events(spec), breakdown=_parse_breakdown(spec))
        case pb.InsightType.SEGMENTATION if spec.session is not None:
            return SessionNumber(
                metric=_parse_metric(spec.session), scope=parse_condition(spec.session.scope)
            )
        case pb.InsightType.SEGMENTATION:
            return Segmentation(events=_parse_events(spec))
        case _:
            return _parse_other_question(spec)


def _parse_other_question(spec: pb.InsightQuerySpec) -> Question:
    match spec.insight_type:
        case pb.InsightType.FUNNEL:
            window = spec.conversion_window
            return Funnel(
                steps=_parse_events(spec),
                breakdown=_parse_breakdown(spec),
                conversion_window_seconds=None if window is None else window.seconds,
                include_step_timing=spec.include_step_timing,
            )
        case pb.InsightType.RETENTION:
            return Retention(events=_parse_events(spec), breakdown=_parse_breakdown(spec))
        case pb.InsightType.USER_FLOW:
            return _parse_flow(spec.user_flow)
        case pb.InsightType.TOP_K:
            return _parse_top_k(spec.top_k)
        case pb.InsightType.MAP:
            return _parse_map(spec.map)
        case _:
            raise UnservedError("INSIGHT_TYPE_UNSERVED", "this insight type is not served")


def _parse_flow(flow: pb.UserFlowQuery | None) -> UserFlow:
    if flow is None:
        raise _invalid("a user flow needs its configuration")
    is_by_property = flow.node_kind == pb.UserFlowQuery.NodeKind.PROPERTY
    default = UserFlow()
    return UserFlow(
        node_property=flow.node_property if is_by_property else "",
        scope=parse_condition(flow.scope),
        hops_max=flow.max_hops or default.hops_max,
        nodes_max=flow.max_nodes or default.nodes_max,
        links_max=flow.max_links or default.links_max,
    )


def _parse_top_k(ranking: pb.TopKQuery | None) -> TopK:
    dimension = None if ranking is None else _DIMENSIONS.get(ranking.dimension)
    if ranking is None or dimension is None:
        raise _invalid("a ranking needs a dimension")
    return TopK(
        dimension=dimension,
        property=ranking.property,
        scope=parse_condition(ranking.scope),
        metric=_parse_aggregation(ranking.metric),
        metric_property=ranking.metric_property,
        limit=ranking.limit or TOP_K_LIMIT_DEFAULT,
        omit_others=ranking.omit_others,
    )


def _parse_map(asked: pb.MapQuery | None) -> TopK:
    """A ranking of countries, all of them and nothing else [services 13]."""
    if asked is None:
        raise _invalid("a map needs its configuration")
    return TopK(
        dimension=Dimension.COUNTRY,
        property=Promoted.COUNTRY,
        scope=parse_condition(asked.scope),
        metric=_parse_aggregation(asked.metric),
        metric_property=asked.metric_property,
        limit=COUNTRIES_MAX,
        omit_others=True,
    )


def _parse_events(spec: pb.InsightQuerySpec) -> tuple[EventQuery, ...]:
    return tuple(map(parse_event, spec.events))


def parse_event(event: pb.EventQuery) -> EventQuery:
    """One asked event."""
    return EventQuery(
        condition=parse_condition(event.event),
        aggregation=_parse_aggregation(event.aggregation),
        aggregation_property=event.aggregation_property,
        is_condition_sent=event.event is not None,
    )


def parse_condition(condition: filters_pb.EventFilter | None) -> EventCondition:
    """Kind and filters of one event; an absent condition is an empty one."""
    if condition is None:
        return EventCondition()
    return EventCondition(kind=condition.kind, filters=tuple(map(parse_filter, condition.filters)))


def parse_filter(asked: filters_pb.PropertyFilter) -> PropertyFilter:
    """One comparison, as asked."""
    operator = _OPERATORS.get(asked.operator)
    if operator is None:
        raise _invalid("an unknown filter operator")
    return PropertyFilter(
        property=asked.property,
        operator=operator,
        value=asked.value,
        values=tuple(asked.values),
        of_profile=asked.source == filter_schema_pb.PropertySource.PROFILE,
    )


def _parse_breakdown(spec: pb.InsightQuerySpec) -> Breakdown:
    return Breakdown(
        properties=tuple(breakdown.property for breakdown in spec.breakdowns),
        limit=spec.breakdown_limit or BREAKDOWN_LIMIT_DEFAULT,
    )


def _parse_aggregation(asked: pb.AggregationType) -> Aggregation:
    aggregation = _AGGREGATIONS.get(asked)
    if aggregation is None:
        raise _invalid("an unknown aggregation")
    return aggregation


def _parse_metric(session: pb.SessionQuery) -> SessionMetric:
    metric = _METRICS.get(session.metric)
    if metric is None:
        raise _invalid("an unknown session metric")
    return metric


def parse_logic(operator: filters_pb.LogicalOperator) -> Logic:
    """How conditions are joined: AND unless OR is asked for."""
    return Logic.OR if operator == filters_pb.LogicalOperator.OR else Logic.AND


def _render_series(series: TrendSeries) -> pb.TrendSeries:
    return pb.TrendSeries(
        event_kind=series.kind,
        breakdown=dict(series.breakdown),
        points=[
            pb.DataPoint(time=_timestamp(point.time_ms), value=point.value)
            for point in series.points
        ],
    )


def _render_funnel(series: FunnelSeries) -> pb.FunnelSeries:
    return pb.FunnelSeries(
        breakdown=dict(series.breakdown),
        steps=[
            pb.FunnelStep(
                event_kind=step.kind,
                total=float(step.total),
                timing=None if step.times is None else _render_times(step.times),
            )
            for step in series.steps
        ],
    )


def _render_times(times: Times) -> pb.StepTiming:
    bounds = (*(Duration(seconds=bound) for bound in BOUNDS_SECONDS), None)
    return pb.StepTiming(
        avg=_duration(times.mean_ns),
        median=_duration(times.median_ns),
        p95=_duration(times.p95_ns),
        distribution=[
            pb.DistributionBucket(label=label, upper_bound=bound, count=count)
            for label, bound, count in zip(_TIME_LABELS, bounds, times.counts, strict=True)
        ],
    )


def _duration(nanoseconds: int) -> Duration:
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return Duration(seconds=seconds, nanos=nanos)


def _render_retention(series: RetentionSeries) -> pb.RetentionSeries:
    return pb.RetentionSeries(
        breakdown=dict(series.breakdown),
        cohorts=[
            pb.RetentionCohort(
                cohort=cohort.label,
                cohort_size=float(cohort.size),
                points=[
                    pb.DataPoint(time=_timestamp(point.time_ms), value=point.percent)
                    for point in cohort.points
                ],
            )
            for cohort in series.cohorts
        ],
    )


def _render_flow(answer: UserFlowAnswer) -> pb.UserFlowResult:
    def label(end: FlowEnd) -> str:
        return answer.rest_id if end.is_rest else end.name

    def name(end: FlowEnd) -> str:
        return f"{end.depth}:{label(end)}" if answer.layered else label(end)

    def render(node: FlowEnd) -> pb.UserFlowNode:
        told = pb.UserFlowNode(id=name(node))
        if node.is_rest:
            told.is_others = True
        if answer.layered:
            told.depth, told.label = node.depth, label(node)
        return told

    return pb.UserFlowResult(
        nodes=list(map(render, answer.nodes)),
        links=[
            pb.UserFlowLink(source=name(link.source), target=name(link.target), value=link.sessions)
            for link in answer.links
        ],
    )


def _render_ranked(row: RankedRow) -> pb.TopKRow:
    told = pb.TopKRow(
        dimension_value=OTHERS if row.is_rest else row.value,
        value=row.amount,
        is_others=row.is_rest,
    )
    if row.person is not None:
        told.profile = pb.TopKProfile(id=row.person.id, external_id=row.person.external_id)
        properties = Properties.from_json(row.person.properties)
        if properties.fields:
            told.profile.properties = properties
    return told


def _timestamp(milliseconds: int) -> Timestamp:
    seconds, rest = divmod(milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=rest * _NANOS_PER_MS)


def _round_up(moment: Timestamp) -> int:
    return moment.seconds * 1000 - (-moment.nanos // _NANOS_PER_MS)


def _invalid(message: str) -> InvalidInputError:
    return InvalidInputError("INVALID_INSIGHT_QUERY", message)
