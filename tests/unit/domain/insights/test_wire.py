"""Messages to specs and back."""

import json

import pytest

from appliance.base.errors import InvalidInputError, UnservedError
from appliance.domain.insights.shape import Point, SegmentationAnswer, TrendsAnswer, TrendSeries
from appliance.domain.insights.spec import Granularity, TimeRange, Trends, UserFlow
from appliance.domain.insights.wire import parse_query, render_answer
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest

_RANGE = {"from": "2025-05-01T00:00:00Z", "to": "2025-05-02T00:00:00Z"}


def _parse(spec, window=_RANGE, granularity="GRANULARITY_DAY"):
    request = {"spec": spec, "timeRange": window, "granularity": granularity}
    return parse_query(QueryRequest.from_json(json.dumps(request)), timezone="Asia/Kolkata")


def test_defaults_are_filled_in_and_the_zone_is_the_projects() -> None:
    """[insights 1, 2]"""
    spec = _parse({"insightType": "INSIGHT_TYPE_TRENDS"})
    assert spec.question == Trends()
    assert (spec.zone, spec.granularity) == ("Asia/Kolkata", Granularity.DAY)
    assert not spec.include_cookieless


def test_an_explicit_zero_is_the_default() -> None:
    """[insights 2] "absent or zero"."""
    spec = _parse(
        {"insightType": "INSIGHT_TYPE_USER_FLOW", "userFlow": {"maxHops": 0, "nodeProperty": "x"}}
    )
    assert spec.question == UserFlow()


def test_bounds_finer_than_events_are_rounded_up() -> None:
    """Events have whole milliseconds: from 0.1 ms keeps the event at 1 ms, to 0.1 ms drops it."""
    window = {"from": "1970-01-01T00:00:00.0001Z", "to": "1970-01-01T00:00:00.002000001Z"}
    found = _parse({"insightType": "INSIGHT_TYPE_TRENDS"}, window)
    assert found.range == TimeRange(start_ms=1, end_ms=3)
    before = {"from": "1969-12-31T23:59:59.9985Z", "to": "1970-01-01T00:00:00Z"}
    found = _parse({"insightType": "INSIGHT_TYPE_TRENDS"}, before)
    assert found.range == TimeRange(start_ms=-1, end_ms=0)


@pytest.mark.parametrize(
    "spec",
    [
        {"insightType": "INSIGHT_TYPE_USER_FLOW"},
        {"insightType": "INSIGHT_TYPE_TOP_K"},
        {"insightType": "INSIGHT_TYPE_TRENDS", "session": {}},
        {"insightType": "INSIGHT_TYPE_TRENDS", "events": [{"aggregation": 99}]},
        {"insightType": "INSIGHT_TYPE_TRENDS", "events": [{"event": {"filters": [{}]}}]},
    ],
)
def test_what_slips_past_a_validator_is_refused_not_guessed(spec) -> None:
    with pytest.raises(InvalidInputError):
        _parse(spec)


def test_an_unknown_insight_type_is_not_served() -> None:
    with pytest.raises(UnservedError):
        _parse({"insightType": 99})


def test_zero_values_and_empty_results_are_sent() -> None:
    """[insights 21.1] Explicit presence: 0 is sent, an empty breakdown is not."""
    series = TrendSeries(kind="a", breakdown=(), points=(Point(time_ms=1500, value=0.0),))
    assert json.loads(render_answer(TrendsAnswer(series=(series,))).to_json()) == {
        "trends": {
            "series": [
                {"eventKind": "a", "points": [{"time": "1970-01-01T00:00:01.500Z", "value": 0}]}
            ]
        }
    }
    assert json.loads(render_answer(TrendsAnswer(series=())).to_json()) == {"trends": {}}
    assert json.loads(render_answer(SegmentationAnswer(total=0.0)).to_json()) == {
        "segmentation": {"total": 0}
    }
