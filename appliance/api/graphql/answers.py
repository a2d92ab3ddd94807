"""Answers of insights in the graph: typed, and as the JSON that Connect sends.

Invariant: the objects below are read straight from the messages of the contract, field by field; an
answer with more points than `POINTS_MAX` is told as JSON only, because each typed field costs time
that other requests wait for.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final, TypeAlias, TypeVar, cast

import strawberry
from protobuf import Message

from appliance.api.graphql.scalars import Instant, Json, Long
from appliance.base.errors import InvalidInputError
from appliance.gen.shared.insights.v1.insights_pb import (
    FunnelSeries as FunnelSeriesMessage,
)
from appliance.gen.shared.insights.v1.insights_pb import (
    QueryResponse,
)
from appliance.gen.shared.insights.v1.insights_pb import (
    RetentionResult as RetentionMessage,
)
from appliance.gen.shared.insights.v1.insights_pb import (
    RetentionSeries as RetentionSeriesMessage,
)
from appliance.gen.shared.insights.v1.insights_pb import (
    TrendSeries as TrendSeriesMessage,
)
from appliance.gen.shared.insights.v1.insights_pb import (
    TrendsResult as TrendsMessage,
)

POINTS_MAX: Final = 10_000

_Result = TypeVar("_Result")
_Broken: TypeAlias = TrendSeriesMessage | FunnelSeriesMessage | RetentionSeriesMessage


@strawberry.enum(description="Which of its fields an answer has.")
class AnswerKind(Enum):
    """As the fields of the contract's answer are called."""

    TRENDS = "trends"
    SEGMENTATION = "segmentation"
    FUNNEL = "funnel"
    RETENTION = "retention"
    USER_FLOW = "user_flow"
    TOP_K = "top_k"


@strawberry.type(description="The value of one property that a series stands for.")
class BreakdownValue:
    """One entry of a breakdown."""

    property: str
    value: str


def breakdown_of(root: strawberry.Parent[_Broken]) -> list[BreakdownValue]:
    """The values that a series of a message stands for."""
    return [BreakdownValue(property=key, value=value) for key, value in root.breakdown.items()]


@strawberry.type(description="A value at the beginning of a step.")
class DataPoint:
    """One point."""

    time: Instant | None
    value: float


@strawberry.type
class TrendSeries:
    """One line."""

    event_kind: str
    points: list[DataPoint]
    breakdown: list[BreakdownValue] = strawberry.field(resolver=breakdown_of)


@strawberry.type
class TrendsResult:
    """Lines over time."""

    series: list[TrendSeries]


@strawberry.type
class SegmentationResult:
    """One number."""

    total: float


@strawberry.type
class FunnelStep:
    """How many came so far, and how long that took."""

    event_kind: str
    total: float
    timing: Json | None


@strawberry.type
class FunnelSeries:
    """One funnel."""

    steps: list[FunnelStep]
    breakdown: list[BreakdownValue] = strawberry.field(resolver=breakdown_of)


@strawberry.type
class FunnelResult:
    """Funnels."""

    series: list[FunnelSeries]


@strawberry.type
class RetentionCohort:
    """Those who began together."""

    cohort: str
    cohort_size: float
    points: list[DataPoint]


@strawberry.type
class RetentionSeries:
    """One table."""

    cohorts: list[RetentionCohort]
    breakdown: list[BreakdownValue] = strawberry.field(resolver=breakdown_of)


@strawberry.type
class RetentionResult:
    """Tables of who came back."""

    series: list[RetentionSeries]


@strawberry.type
class UserFlowNode:
    """A station."""

    id: str
    is_others: bool
    depth: int
    label: str


@strawberry.type
class UserFlowLink:
    """How many went from one station to another."""

    source: str
    target: str
    value: Long


@strawberry.type
class UserFlowResult:
    """Ways that people went."""

    nodes: list[UserFlowNode]
    links: list[UserFlowLink]


@strawberry.type
class TopKProfile:
    """Who a row is, where rows are people."""

    id: str
    external_id: str
    properties: Json | None


@strawberry.type
class TopKRow:
    """One place of a ranking."""

    dimension_value: str
    value: float
    is_others: bool
    profile: TopKProfile | None


@strawberry.type
class TopKResult:
    """A ranking."""

    rows: list[TopKRow]


@strawberry.type(description="The answer to an insight: typed in one of its fields, and as JSON.")
class InsightAnswer:
    """An answer of the contract."""

    message: strawberry.Private[QueryResponse]

    @strawberry.field(description="Which of the fields below is there.")
    def kind(self) -> AnswerKind | None:
        found = self.message.result
        return None if found is None else AnswerKind(found.field)

    @strawberry.field(description="The whole answer, as the Connect API sends it.")
    def json(self) -> Json:
        return Json(self.message)

    @strawberry.field
    def trends(self) -> TrendsResult | None:
        return self._typed("trends", TrendsResult)

    @strawberry.field
    def segmentation(self) -> SegmentationResult | None:
        return self._typed("segmentation", SegmentationResult)

    @strawberry.field
    def funnel(self) -> FunnelResult | None:
        return self._typed("funnel", FunnelResult)

    @strawberry.field
    def retention(self) -> RetentionResult | None:
        return self._typed("retention", RetentionResult)

    @strawberry.field
    def user_flow(self) -> UserFlowResult | None:
        return self._typed("user_flow", UserFlowResult)

    @strawberry.field
    def top_k(self) -> TopKResult | None:
        return self._typed("top_k", TopKResult)

    def _typed(self, field: str, kind: type[_Result]) -> _Result | None:  # noqa: ARG002 names the type of a message that looks like it
        """The result, when it is this one; raises InvalidInputError (`ANSWER_TOO_LARGE`)."""
        found = self.message.result
        if found is None or found.field != field:
            return None
        if _points(found.value) > POINTS_MAX:
            raise InvalidInputError(
                "ANSWER_TOO_LARGE",
                f"the answer has more than {POINTS_MAX} points; ask for `json` instead",
            )
        return cast("_Result", found.value)


def _points(result: Message[Any]) -> int:
    lines: Iterable[Any]
    if isinstance(result, TrendsMessage):
        lines = result.series
    elif isinstance(result, RetentionMessage):
        lines = [cohort for series in result.series for cohort in series.cohorts]
    else:
        return 0
    return sum(len(line.points) for line in lines)
