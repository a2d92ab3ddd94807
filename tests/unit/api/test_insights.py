"""`InsightsService/Query` at the boundary: rules, deadlines, errors [services 7.1]."""

import json
from copy import deepcopy

import httpx
import pytest

from appliance.base.errors import InvalidInputError
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest, QueryResponse
from tests.support.api_services import MemoryServices
from tests.support.rpc import GOOD_QUERY, PRIVATE, QUERY, Json, details, refused

pytestmark = pytest.mark.anyio

JSON = {**PRIVATE, "content-type": "application/json"}


async def ask(
    client: httpx.AsyncClient, question: Json, headers: dict[str, str] = JSON
) -> httpx.Response:
    return await client.post(QUERY, headers=headers, content=json.dumps(question))


async def test_json(client: httpx.AsyncClient, services: MemoryServices):
    """A question reaches the service; zero values that are set are printed [services 2.1]."""
    answer = await ask(client, GOOD_QUERY)
    assert answer.status_code == 200
    assert answer.json() == {
        "trends": {"series": [{"eventKind": "page_view", "points": [{"value": 0}]}]}
    }
    assert services.insights.requests[0].spec is not None


async def test_binary(client: httpx.AsyncClient):
    """The same in protobuf."""
    content = QueryRequest.from_json(json.dumps(GOOD_QUERY)).to_binary()
    headers = {**PRIVATE, "content-type": "application/proto"}
    answer = await client.post(QUERY, headers=headers, content=content)
    assert answer.headers["content-type"] == "application/proto"
    result = QueryResponse.from_binary(answer.content).result
    assert result is not None
    assert result.field == "trends"


async def test_packed_answer(client: httpx.AsyncClient):
    """gzip is offered."""
    answer = await ask(client, GOOD_QUERY, {**JSON, "accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "trends" in answer.json()


async def test_every_violation_is_listed(client: httpx.AsyncClient, services: MemoryServices):
    """All broken rules at once, by dotted names without indexes [services 2.2]."""
    question = deepcopy(GOOD_QUERY)
    question["spec"]["events"] = [
        {"event": {"filters": [{"property": "a b", "operator": "FILTER_OPERATOR_EQUALS"}]}}
    ]
    question["spec"]["breakdowns"] = [{"property": "x"}, {"property": "x"}]
    question["timeRange"]["to"] = question["timeRange"]["from"]
    del question["granularity"]
    found = details(refused(await ask(client, question), 400, "invalid_argument"))
    assert found["google.rpc.ErrorInfo"]["reason"] == "INVALID_ARGUMENT"
    fields = [v.get("field", "") for v in found["google.rpc.BadRequest"]["fieldViolations"]]
    assert sorted(fields) == [
        "granularity",
        "spec",
        "spec.events.event.filters",
        "spec.events.event.filters.property",
        "time_range",
    ]
    assert services.insights.requests == []


async def test_range_caps(client: httpx.AsyncClient):
    """A rule on the request as a whole has an empty field."""
    question = {**GOOD_QUERY, "granularity": "GRANULARITY_MINUTE"}
    found = details(refused(await ask(client, question), 400, "invalid_argument"))
    violations = found["google.rpc.BadRequest"]["fieldViolations"]
    assert [v.get("field", "") for v in violations] == [""]


async def test_rule_that_cannot_be_applied(client: httpx.AsyncClient):
    """Text in a numeric comparison is `invalid_argument` without a list [services 2.5]."""
    question = deepcopy(GOOD_QUERY)
    question["spec"]["filterGroups"] = [
        {"filters": [{"property": "a", "operator": "FILTER_OPERATOR_LT", "value": "ten"}]}
    ]
    found = details(refused(await ask(client, question), 400, "invalid_argument"))
    assert "google.rpc.BadRequest" not in found


async def test_undecodable(client: httpx.AsyncClient):
    """Not the message: `invalid_argument` without details."""
    answer = await client.post(QUERY, headers=JSON, content=b'{"spec": 7}')
    assert "details" not in refused(answer, 400, "invalid_argument")


async def test_reason_of_the_service(client: httpx.AsyncClient, services: MemoryServices):
    """The service's own reason reaches the caller."""
    services.insights.failure = InvalidInputError("INVALID_INSIGHT_QUERY", "an empty group")
    found = details(refused(await ask(client, GOOD_QUERY), 400, "invalid_argument"))
    assert found["google.rpc.ErrorInfo"]["reason"] == "INVALID_INSIGHT_QUERY"


async def test_deadline(client: httpx.AsyncClient, services: MemoryServices):
    """`Connect-Timeout-Ms` ends the work [services 2.1]."""
    services.insights.seconds = 30.0
    answer = await ask(client, GOOD_QUERY, {**JSON, "connect-timeout-ms": "40"})
    refused(answer, 504, "deadline_exceeded")


async def test_bad_deadline(client: httpx.AsyncClient):
    """A deadline that is no number is the caller's fault."""
    answer = await ask(client, GOOD_QUERY, {**JSON, "connect-timeout-ms": "soon"})
    refused(answer, 400, "invalid_argument")
