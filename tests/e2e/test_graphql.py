"""One question to the graph of a running appliance."""

import json
from pathlib import Path

import pytest

from tests.support.foreign import has_node, run_program
from tests.support.stack import Json, Stack, make_event, pug, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TOLD_SECONDS = 30
"""Requests are counted and logged when their answer is on its way."""
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
    log = stack.data_dir / "logs" / "api.jsonl"

    def logged() -> Json | None:
        """Our line: others ask the graph of this stack, too."""
        told = [line for line in log.read_text().splitlines() if '"service":"graphql"' in line]
        mine = [one for one in map(json.loads, told) if one["project"] == connection.project_id]
        return mine[0] if mine else None

    assert until(logged, what="a line in the log", seconds=TOLD_SECONDS)["status"] == 200
    lines = log.read_text().splitlines()
    assert not [line for line in lines if "graph-1" in line or "displayName" in line]
    number = 'rpc_requests_total{code="unauthenticated",method="query",service="graphql"}'
    until(
        lambda: number in stack.client.get("/metrics").text or None,
        what=number,
        seconds=TOLD_SECONDS,
    )


@pytest.mark.slow
@pytest.mark.skipif(not has_node(), reason="needs node and npm")
def test_a_browser_asks_with_its_cookie_alone(stack: Stack, tmp_path: Path) -> None:
    """A page of ours does, until it signs out; one of another origin never does."""
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text("correct horse")
    person = ("--email", "browser@pug.test", "--password-file", str(password))
    made = pug("user", "create", *person, data_dir=stack.data_dir)
    assert made.returncode == 0, made.stderr
    told = run_program(
        "cookie-browser.mjs", stack.connection.url, "browser@pug.test", "correct horse"
    )
    (cookie,) = told["cookies"]
    assert cookie == {
        "name": "pug-access",
        "path": "/graphql",
        "httpOnly": True,
        "sameSite": "Strict",
    }
    assert told["script"] == ""
    assert told["own"] == {"status": 200, "told": {"data": {"me": {"email": "browser@pug.test"}}}}
    assert (told["bare"]["status"], told["bare"]["told"].get("data")) == (403, None)
    unread, opaque = {"status": "unread"}, {"status": 0, "told": "opaque"}
    assert told["foreigners"] == {
        "another port": unread,
        "another port, without a preflight": opaque,
        "another site": unread,
        "another site, without a preflight": opaque,
    }
    # To the browser another port is the same site: it sends the cookie, which is refused.
    assert told["seen"] == [{"status": 415, "cookie": True}, {"status": 415, "cookie": False}]
    assert (told["after"]["told"]["data"], told["left"]) == ({"me": None}, 0)
