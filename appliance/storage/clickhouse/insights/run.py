"""Answer a plan: compile, ask, read the rows back.

Invariant: driver errors end here as ours; a statement that the server cannot read is our bug and
reaches the caller as an internal error, never as the caller's fault.
"""

from collections.abc import Sequence
from typing import assert_never, cast

import msgspec

from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.domain.insights.plan import InsightPlan, SegmentationPlan, TrendsPlan
from appliance.domain.insights.shape import (
    InsightAnswer,
    SegmentationAnswer,
    TrendRow,
    shape_trends,
)
from appliance.storage.clickhouse.client import ClickHouse, Row
from appliance.storage.clickhouse.fragment import Statement
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
                rows = await self._rows(compile_trends(plan))
                return shape_trends(plan, [_read_trend_row(row) for row in rows])
            case SegmentationPlan():
                ((total,),) = await self._rows(compile_segmentation(plan))
                return SegmentationAnswer(total=msgspec.convert(total, float))
            case _:
                assert_never(plan)

    async def _rows(self, statement: Statement) -> Sequence[Row]:
        try:
            return await self._clickhouse.rows(
                statement.text, statement.parameters, statement.settings
            )
        except InvalidInputError as error:
            raise ApplianceError(
                "INTERNAL", "the event store refused a statement", fields=error.fields
            ) from error


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
