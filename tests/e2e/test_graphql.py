"""One question to the graph of a running appliance."""

import json

import pytest

from tests.support.stack import Stack, make_event

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

QUESTION = """query ($id: ID!) { oidcProviders { id } me { id } project(id: $id) {
  displayName events(first: 5, distinctId: "graph-1") { edges { node { kind occurTime } } } } }"""


def test_a_private_key_asks_the_graph(stack: Stack) -> None:
    """The first question imports it; what is refused leaves the rest; the log names no question."""
    assert stack.post([make_event("graph_view", distinct_id="graph-1")]).status_code == 200
    stack.trend_reaches("graph_view", 1)
    connection = stack.connection
    body = {"query": QUESTION, "variables": {"id": connection.project_id}}
    answer = stack.client.post("/graphql", json=body, headers={"x-api-key": connection.private_key})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    (edge,) = told["data"]["project"]["events"]["edges"]
    assert edge["node"]["kind"] == "graph_view"
    assert (told["data"]["oidcProviders"], told["data"]["me"]) == ([], None)
    assert [one["extensions"]["reason"] for one in told["errors"]] == ["UNAUTHENTICATED"]
    assert stack.client.get("/graphql").status_code == 405
    lines = (stack.data_dir / "logs" / "api.jsonl").read_text().splitlines()
    mine = [json.loads(line) for line in lines if '"service":"graphql"' in line]
    assert (mine[0]["status"], mine[0]["project"]) == (200, connection.project_id)
    assert not [line for line in lines if "graph-1" in line or "displayName" in line]
    numbers = stack.client.get("/metrics").text
    assert 'rpc_requests_total{code="unauthenticated",method="query",service="graphql"}' in numbers
