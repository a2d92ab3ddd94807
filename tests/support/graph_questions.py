"""Questions for tests of the graph."""

from typing import Final

from appliance.gen.common.v1.filters_pb import EventFilter
from appliance.gen.shared.insights.v1.insights_pb import (
    AggregationType,
    EventQuery,
    InsightQuerySpec,
    InsightType,
)

SPEC: Final = InsightQuerySpec(
    insight_type=InsightType.TRENDS,
    events=[EventQuery(event=EventFilter(kind="page_view"), aggregation=AggregationType.TOTAL)],
)
RANGE: Final = {"from": "2026-05-10T00:00:00Z", "to": "2026-05-11T00:00:00Z"}
INSIGHT: Final[dict[str, object]] = {
    "spec": {
        "insightType": "INSIGHT_TYPE_TRENDS",
        "events": [{"event": {"kind": "page_view"}, "aggregation": "AGGREGATION_TYPE_TOTAL"}],
    },
    "timeRange": RANGE,
    "granularity": "DAY",
}
