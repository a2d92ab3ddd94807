"""Which source answers: all routing cases of the shared vectors [insights 20]."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from appliance.domain.insights.route import choose_source
from appliance.domain.insights.wire import parse_query
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from tests.support.insight_vectors import load_section

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("case", load_section("routing"), ids=lambda case: case["id"])
def test_the_source_is_that_of_the_contract(case) -> None:
    """A roll-up answers only where it must equal the events."""
    request = QueryRequest.from_json(json.dumps(case["request"]))
    spec = parse_query(request, timezone=case["timezone"])
    now_ms = (datetime.fromisoformat(case["now"]) - _EPOCH) // timedelta(milliseconds=1)
    assert choose_source(spec, now_ms).value == case["path"]
