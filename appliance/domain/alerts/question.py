"""Which insights are one number, and how that number is read from the answer.

Invariant: a question is refused when it is made, never when it is asked: what passes
`check_question` has a number, or honestly none (`read_number` gives None).
"""

from math import isfinite
from typing import Final

from protobuf import Oneof

from appliance.base.errors import InvalidInputError
from appliance.gen.shared.insights.v1.insights_pb import (
    AggregationType,
    FunnelResult,
    InsightQuerySpec,
    InsightType,
    QueryResponse,
    SegmentationResult,
    SessionMetric,
    TopKResult,
)

_PERCENT: Final = 100.0
_STEPS_MIN: Final = 2
_ADDITIVE: Final = {AggregationType.UNSPECIFIED, AggregationType.TOTAL, AggregationType.SUM}


def check_question(spec: InsightQuerySpec) -> None:
    """Return when a question has one number.

    Raises InvalidInputError (`INVALID_ALERT_QUESTION`) saying what to ask instead.
    """
    problem = _problem(spec)
    if problem:
        raise InvalidInputError("INVALID_ALERT_QUESTION", problem)


def asked_spec(spec: InsightQuerySpec) -> InsightQuerySpec:
    """The question as it is asked: a trend of one series is one number over the whole window.

    Its points cannot be added up: who came on two days is one person.
    """
    if spec.insight_type is not InsightType.TRENDS:
        return spec
    asked = InsightQuerySpec.from_binary(spec.to_binary())
    asked.insight_type = InsightType.SEGMENTATION
    return asked


def read_number(answer: QueryResponse) -> float | None:
    """The number of an answer; None when there is none, like the conversion of an empty funnel."""
    number: float | None
    match answer.result:
        case Oneof(value=SegmentationResult() as segmentation):
            number = segmentation.total
        case Oneof(value=TopKResult() as ranking):
            number = sum(row.value for row in ranking.rows)
        case Oneof(value=FunnelResult() as funnel):
            number = _conversion(funnel)
        case _:
            number = None
    return number if number is not None and isfinite(number) else None


def _conversion(funnel: FunnelResult) -> float | None:
    """How many of a hundred that began came to the end."""
    if not funnel.series or not funnel.series[0].steps:
        return None
    steps = funnel.series[0].steps
    return steps[-1].total / steps[0].total * _PERCENT if steps[0].total else None


def _problem(spec: InsightQuerySpec) -> str:
    problem = "this kind of insight has no single number; ask for a segmentation"
    if spec.breakdowns:
        return "an alert watches one number: ask without breakdowns"
    match spec.insight_type:
        case InsightType.TRENDS:
            problem = _problem_of_trend(spec)
        case InsightType.SEGMENTATION:
            problem = ""
        case InsightType.FUNNEL:
            few = len(spec.events) < _STEPS_MIN
            problem = "the conversion of a funnel needs two steps or more" if few else ""
        case InsightType.TOP_K if spec.top_k is not None:
            problem = _problem_of_sum(spec.top_k.metric)
        case InsightType.MAP if spec.map is not None:
            problem = _problem_of_sum(spec.map.metric)
        case _:
            pass
    return problem


def _problem_of_trend(spec: InsightQuerySpec) -> str:
    if len(spec.events) > 1:
        return "an alert watches one number: ask for one event, or for a segmentation"
    session = spec.session
    if session is not None and session.metric in {SessionMetric.ENTRY, SessionMetric.EXIT}:
        return "entries and exits have no single number"
    return ""


def _problem_of_sum(metric: AggregationType) -> str:
    if metric in _ADDITIVE:
        return ""
    return "the rows of this ranking cannot be added up; ask for a segmentation"
