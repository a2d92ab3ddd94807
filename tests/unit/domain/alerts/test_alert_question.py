"""Which questions have one number, and which number that is."""

import pytest
from protobuf import Oneof

from appliance.base.errors import InvalidInputError
from appliance.domain.alerts.question import asked_spec, check_question, read_number
from appliance.gen.shared.insights.v1 import insights_pb as pb

TYPE, TOTAL = pb.InsightType, pb.AggregationType.TOTAL
TWO = [pb.EventQuery(), pb.EventQuery()]


def spec(**fields: object) -> pb.InsightQuerySpec:
    return pb.InsightQuerySpec(**fields)  # type: ignore[arg-type] fields of one message


def top_k(metric: pb.AggregationType) -> pb.TopKQuery:
    return pb.TopKQuery(dimension=pb.TopKQuery.Dimension.EVENT_KIND, metric=metric)


GOOD = [
    spec(insight_type=TYPE.TRENDS),
    spec(insight_type=TYPE.TRENDS, events=TWO[:1]),
    spec(insight_type=TYPE.SEGMENTATION, events=TWO),
    spec(insight_type=TYPE.TRENDS, session=pb.SessionQuery(metric=pb.SessionMetric.BOUNCE_RATE)),
    spec(insight_type=TYPE.FUNNEL, events=TWO),
    spec(insight_type=TYPE.TOP_K, top_k=top_k(TOTAL)),
    spec(insight_type=TYPE.MAP, map=pb.MapQuery()),
]
BAD = [
    spec(insight_type=TYPE.TRENDS, events=TWO),
    spec(insight_type=TYPE.TRENDS, breakdowns=[pb.Breakdown(property="$os")]),
    spec(insight_type=TYPE.TRENDS, session=pb.SessionQuery(metric=pb.SessionMetric.ENTRY)),
    spec(insight_type=TYPE.FUNNEL, events=TWO[:1]),
    spec(insight_type=TYPE.FUNNEL, events=TWO, breakdowns=[pb.Breakdown(property="$os")]),
    spec(insight_type=TYPE.RETENTION, events=TWO),
    spec(insight_type=TYPE.USER_FLOW),
    spec(insight_type=TYPE.TOP_K, top_k=top_k(pb.AggregationType.UNIQUE_USERS)),
    spec(insight_type=TYPE.TOP_K),
    spec(insight_type=TYPE.MAP, map=pb.MapQuery(metric=pb.AggregationType.AVG)),
]


@pytest.mark.parametrize("asked", GOOD)
def test_one_number(asked: pb.InsightQuerySpec) -> None:
    check_question(asked)
    sent = asked_spec(asked)
    assert sent.insight_type is not TYPE.TRENDS
    assert (sent.events, sent.session) == (asked.events, asked.session)


@pytest.mark.parametrize("asked", BAD)
def test_no_number(asked: pb.InsightQuerySpec) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_question(asked)
    assert caught.value.reason == "INVALID_ALERT_QUESTION"


def funnel(*totals: float) -> pb.QueryResponse:
    steps = [pb.FunnelStep(total=total) for total in totals]
    series = [pb.FunnelSeries(steps=steps)] if steps else []
    return pb.QueryResponse(result=Oneof("funnel", pb.FunnelResult(series=series)))


def test_numbers() -> None:
    one = pb.QueryResponse(result=Oneof("segmentation", pb.SegmentationResult(total=3.5)))
    assert read_number(one) == 3.5
    nothing = pb.QueryResponse(
        result=Oneof("segmentation", pb.SegmentationResult(total=float("nan")))
    )
    assert read_number(nothing) is None
    assert read_number(funnel(200, 80, 50)) == 25
    assert read_number(funnel(0, 0)) is None
    assert read_number(funnel()) is None
    rows = [pb.TopKRow(value=2), pb.TopKRow(value=3, is_others=True)]
    assert read_number(pb.QueryResponse(result=Oneof("top_k", pb.TopKResult(rows=rows)))) == 5
    assert read_number(pb.QueryResponse()) is None
