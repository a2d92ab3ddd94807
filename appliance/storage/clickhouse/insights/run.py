"""Answer a plan: compile, ask, read the rows back.

Invariant: driver errors end here as ours, by `ask`.
"""

from collections.abc import Sequence
from typing import assert_never, cast

import msgspec

from appliance.domain.insights.plan import InsightPlan, SegmentationPlan, TrendsPlan
from appliance.domain.insights.shape import (
    InsightAnswer,
    SegmentationAnswer,
    TrendRow,
    shape_trends,
)
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse, Row
from appliance.storage.clickhouse.insights.segmentation import compile_segmentation
from appliance.storage.clickhouse.insights.trends import compile_trends


class ClickHouseInsights:
    """Answers plans from the event store."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def answer(self, plan: InsightPlan) -> InsightAnswer:
        """The answer of a plan.

        Raises UnavailableError, TimedOutError or ExhaustedError when the event store cannot.
        """
        match plan:
            case TrendsPlan():
                rows = await ask(self._clickhouse, compile_trends(plan))
                return shape_trends(plan, [_read_trend_row(row) for row in rows])
            case SegmentationPlan():
                ((total,),) = await ask(self._clickhouse, compile_segmentation(plan))
                return SegmentationAnswer(total=msgspec.convert(total, float))
            case _:
                assert_never(plan)


def _read_trend_row(row: Row) -> TrendRow:
    event, kind, values, is_rest, bucket, value = row
    return TrendRow(
        event=cast("int", event),
        kind=str(kind),
        values=tuple(cast("Sequence[str]", values)),
        is_rest=bool(is_rest),
        bucket_ms=cast("int", bucket),
        value=cast("float", value),
    )
