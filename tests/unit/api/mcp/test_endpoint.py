"""`/mcp` in front of services in memory: who may, what is refused, what becomes of errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from appliance.api.mcp.endpoint import BODY_BYTES_MAX
from appliance.api.mcp.rates import CALLS_PER_SECOND
from appliance.api.mcp.surface import ROWS
from appliance.base.errors import UnavailableError
from appliance.config.model import Settings
from appliance.domain.ingest.allowance import BURST_SECONDS
from tests.support.api_services import (
    KEY_OF_BROKEN_LOOK_UP,
    PRIVATE_KEY,
    PUBLIC_KEY,
    MemoryPrincipal,
    MemoryServices,
)
from tests.support.rpc import GOOD_QUERY, Json, details, refused

pytestmark = pytest.mark.anyio

PEER = ("203.0.113.9", 4711)
TOOLS = [row.tool for row in ROWS if row.tool]
OTHER_KEY = "prv_" + "d" * 20
ACCEPT = {"accept": "application/json, text/event-stream"}
KEY = {**ACCEPT, "x-api-key": PRIVATE_KEY}
PING: Json = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


async def ask(
    client: httpx.AsyncClient,
    method: str,
    path: str = "/mcp",
    key: str = PRIVATE_KEY,
    **params: Any,
) -> Json:
    """The answer to one JSON-RPC request that is spoken correctly."""
    answer = await client.post(
        path,
        headers={**ACCEPT, "x-api-key": key},
        json={"jsonrpc": "2.0", "id": 7, "method": method, "params": params},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "mcp-session-id" not in answer.headers
    body: Json = answer.json()
    assert body["id"] == 7
    return body


async def call(
    client: httpx.AsyncClient, tool: str, arguments: Json | None = None, key: str = PRIVATE_KEY
) -> Json:
    """The result of one tool call."""
    asked = {"name": tool} if arguments is None else {"name": tool, "arguments": arguments}
    result: Json = (await ask(client, "tools/call", key=key, **asked))["result"]
    assert [block["type"] for block in result["content"]] == ["text"]
    return result


def failure(result: Json) -> Json:
    """The error of a tool's result."""
    assert result["isError"] is True
    assert "structuredContent" not in result
    error: Json = json.loads(result["content"][0]["text"])
    return error


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_the_list(client: httpx.AsyncClient, path: str):
    """Twelve tools with both schemas, on both paths, without a redirect or a handshake."""
    tools = (await ask(client, "tools/list", path))["result"]["tools"]
    assert [tool["name"] for tool in tools] == TOOLS
    for tool in tools:
        assert tool["description"]
        assert tool["inputSchema"]["required"] == []
        assert tool["outputSchema"]["type"] == "object"
        assert tool["annotations"]["readOnlyHint"] is True


@pytest.mark.parametrize(
    "version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "1999-01-01"]
)
async def test_handshake(client: httpx.AsyncClient, version: str):
    """The client's version if it is known, else the newest classic one [mcp 3]."""
    info = {"name": "test", "version": "1"}
    result = (
        await ask(client, "initialize", protocolVersion=version, capabilities={}, clientInfo=info)
    )["result"]
    assert result["protocolVersion"] == (version if version > "2" else "2025-11-25")
    assert result["serverInfo"] == {"name": "pug", "version": "0.1.0"}
    assert "tools" in result["capabilities"]
    assert not {"prompts", "resources"} & set(result["capabilities"])
    assert "explore_events" in result["instructions"]


async def test_notifications(client: httpx.AsyncClient):
    """202 and nothing else."""
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    answer = await client.post("/mcp", headers=KEY, json=note)
    assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": PUBLIC_KEY},
        {"authorization": f"Bearer {PUBLIC_KEY}"},
        {"x-api-key": "prv_" + "0" * 20},
        {"authorization": "Bearer prv_" + "0" * 20},
        {"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"},
        {"authorization": f"Basic {PRIVATE_KEY}"},
        {"authorization": PRIVATE_KEY},
        {"x-api-key": PUBLIC_KEY, "authorization": f"Bearer {PRIVATE_KEY}"},
        {"x-api-key": "", "authorization": f"Bearer {PRIVATE_KEY}"},
    ],
)
async def test_strangers_see_401_only(client: httpx.AsyncClient, headers: dict[str, str]):
    """Whatever else is wrong with the request, and its body is not looked at [mcp 1, 2]."""
    for method in ("POST", "GET", "DELETE", "OPTIONS"):
        answer = await client.request(
            method, f"/mcp?api_key={PRIVATE_KEY}", headers=headers, content=b"\x00" * 100
        )
        found = details(refused(answer, 401, "unauthenticated"))
        assert found["google.rpc.ErrorInfo"]["reason"] == "UNAUTHENTICATED"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": PRIVATE_KEY},
        {"authorization": f"Bearer {PRIVATE_KEY}"},
        {"authorization": f"bEARER  {PRIVATE_KEY}"},
        {"x-api-key": PRIVATE_KEY, "authorization": f"Bearer {PUBLIC_KEY}"},
    ],
)
async def test_both_places_of_a_key(client: httpx.AsyncClient, headers: dict[str, str]):
    """With both, `x-api-key` decides; the tool call carries that key too."""
    asked = {"name": "query_insights", "arguments": GOOD_QUERY}
    answer = await client.post(
        "/mcp",
        headers={**ACCEPT, **headers},
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked},
    )
    assert answer.status_code == 200
    assert answer.json()["result"]["isError"] is False


async def test_a_look_up_that_fails_is_no_stranger(
    client: httpx.AsyncClient, services: MemoryServices
):
    """`unavailable`, not 401 [services 12 #23]."""

    class Away:
        async def resolve(self, _token: str) -> None:
            raise UnavailableError("UNAVAILABLE", "the accounts cannot be reached")

    assert KEY_OF_BROKEN_LOOK_UP.startswith("pub_"), "which is refused before it is looked up"
    services.keys = Away()  # type: ignore[assignment] for this once
    app = create_app(services, Settings())
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=PEER),  # type: ignore[arg-type] ASGI, spelt by another library
        base_url="http://pug.example",
    ) as asking:
        refused(await asking.post("/mcp", headers=KEY, json=PING), 503, "unavailable")


async def test_other_methods(client: httpx.AsyncClient):
    """405; no stream is opened and no session ended."""
    for method in ("GET", "DELETE", "PUT", "HEAD", "OPTIONS"):
        answer = await client.request(method, "/mcp", headers=KEY)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), method


HEADERS: tuple[tuple[dict[str, str], int], ...] = (
    ({"content-type": "text/plain"}, 415),
    ({"content-type": ""}, 415),
    ({"content-type": "application/json; charset=utf-8"}, 200),
    ({"accept": "application/json"}, 400),
    ({"accept": "text/event-stream"}, 400),
    ({"accept": "text/html"}, 400),
    ({"accept": "application/*, text/*;q=0.5"}, 200),
    ({"accept": "*/*"}, 200),
    ({"mcp-protocol-version": "2025-06-18"}, 200),
    ({"mcp-protocol-version": "2020-01-01"}, 400),
    ({"content-length": "4194305"}, 413),
    ({"content-length": "many"}, 413),
)


async def test_headers(client: httpx.AsyncClient):
    """The status codes of [mcp 1]."""
    for changes, status in HEADERS:
        headers = {**KEY, "content-type": "application/json", **changes}
        answer = await client.post("/mcp", headers=headers, content=json.dumps(PING))
        assert answer.status_code == status, (changes, answer.text)


async def test_large_body_without_length(client: httpx.AsyncClient):
    """Refused while it comes in."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES_MAX // (1 << 20) + 1):
            yield b" " * (1 << 20)

    headers = {**KEY, "content-type": "application/json"}
    answer = await client.post("/mcp", headers=headers, content=chunks())
    refused(answer, 413, "invalid_argument")


BODIES = (b"", b"{", b"[]", b"3", b"\xff", json.dumps([PING, PING]).encode(), b"[" * 50_000)


@pytest.mark.parametrize("version", [{}, {"mcp-protocol-version": "2026-07-28"}])
async def test_bodies_that_are_no_request(client: httpx.AsyncClient, version: dict[str, str]):
    """400, in either style of the protocol, and the next request is served."""
    headers = {**KEY, **version, "content-type": "application/json"}
    for body in BODIES:
        answer = await client.post("/mcp", headers=headers, content=body)
        assert answer.status_code == 400, (body[:20], answer.text)
    assert (await ask(client, "ping"))["result"] == {}


@pytest.mark.parametrize(
    ("peer", "host", "extra", "status"),
    [
        ("127.0.0.1", "rebound.example", {}, 403),
        ("::1", "rebound.example:8080", {}, 403),
        ("127.0.0.1", "localhost:8080", {}, 200),
        ("127.0.0.1", "127.0.0.1:8080", {}, 200),
        ("127.0.0.1", "[::1]:8080", {}, 200),
        ("127.0.0.1", "pug.example", {"x-forwarded-for": "203.0.113.1"}, 200),
        ("203.0.113.9", "pug.example", {}, 200),
    ],
)
async def test_host_on_loopback(
    services: MemoryServices, peer: str, host: str, extra: dict[str, str], status: int
):
    """Against DNS rebinding; a proxy on this machine says for whom it speaks [mcp 1]."""
    transport = httpx.ASGITransport(create_app(services, Settings()), client=(peer, 4711))  # type: ignore[arg-type] ASGI, spelt by another library
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as asking:
        answer = await asking.post("/mcp", headers={**KEY, "host": host, **extra}, json=PING)
    assert answer.status_code == status


async def test_no_such_tool(client: httpx.AsyncClient, services: MemoryServices):
    """An error of the protocol, and no handler is reached [mcp 7]."""
    for tool in ("delete_profile", "Delete", "segment_users", "", "list_profiles"):
        body = await ask(client, "tools/call", name=tool, arguments=GOOD_QUERY)
        assert body["error"]["code"] == -32602, tool
    assert services.insights.requests == []


async def test_result_twice(client: httpx.AsyncClient):
    """Text and structured content are the same JSON; an empty breakdown is there [mcp 6]."""
    result = await call(client, "query_insights", GOOD_QUERY)
    assert result["isError"] is False
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    assert result["structuredContent"] == {
        "result": {
            "which": "trends",
            "trends": {
                "series": [{"event_kind": "page_view", "breakdown": {}, "points": [{"value": 0}]}]
            },
        }
    }


async def test_missing_arguments(client: httpx.AsyncClient, services: MemoryServices):
    """An empty message: refused by the rules, by name, before a handler [mcp 11 #5]."""
    for arguments in (None, {}):
        error = failure(await call(client, "query_insights", arguments))
        assert error["code"] == "INVALID_ARGUMENT"
        by_type = {detail["@type"].rpartition("/")[2]: detail for detail in error["details"]}
        violations = by_type["google.rpc.BadRequest"]["fieldViolations"]
        assert "spec" in [violation["field"] for violation in violations]
        assert len(by_type["google.rpc.RequestInfo"]["requestId"]) == 20
    assert services.insights.requests == []


UNDECODABLE: tuple[Json, ...] = (
    {"granularity": "GRANULARITY_FORTNIGHT"},
    {"granularity": 3.5},
    {"spec": 5},
    {"spec": [1]},
    {"spec": "no json"},
    {"time_range": {"from": "yesterday"}},
    {"time_range": {"from": 9e99}},
    {"spec": {"breakdown_limit": 10**30}},
    {"spec": {"conversion_window": "1 hour"}},
)


async def test_arguments_that_do_not_decode(client: httpx.AsyncClient, services: MemoryServices):
    """Results that the agent can read, not errors of the protocol [mcp 7, 12 #1]."""
    for arguments in UNDECODABLE:
        result = await call(client, "query_insights", {**GOOD_QUERY, **arguments})
        assert result["isError"] is True, arguments
    assert services.insights.requests == []


@pytest.mark.parametrize("place", ["timezone", "spec"])
async def test_json_at_the_edge(client: httpx.AsyncClient, services: MemoryServices, place: str):
    """Numbers and depths that some parser would let pass: a refusal, never our own failure."""
    headers = {**KEY, "content-type": "application/json"}
    for edge in ("9" * 5000, "[" * 150 + "]" * 150, "1e999", "NaN"):
        arguments = json.dumps({**GOOD_QUERY, place: "HERE"}).replace('"HERE"', edge)
        params = f'{{"name":"query_insights","arguments":{arguments}}}'
        content = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'
        answer = await client.post("/mcp", headers=headers, content=content)
        assert answer.status_code in {200, 400}
        assert "on our side" not in answer.text
        if place == "spec" and answer.status_code == 200:
            assert answer.json().get("result", {"isError": True})["isError"] is True
            assert services.insights.requests == []


async def test_odd_values_in_the_newer_style(client: httpx.AsyncClient):
    """Read by another parser than the classic style: what it lets pass is refused in words too."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {
        **KEY,
        "content-type": "application/json",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "query_insights",
    }
    odd = ("\ud800", "\x00", "a" * 100_000, [[]] * 1000, float("nan"), 10**400)
    for timezone in odd:
        arguments = {**GOOD_QUERY, "timezone": timezone}
        params = {"name": "query_insights", "arguments": arguments, "_meta": meta}
        content = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        answer = await client.post("/mcp", headers=headers, content=content)
        assert answer.status_code in {200, 400}, str(timezone)[:20]
        if answer.status_code == 200:
            assert answer.json()["result"]["isError"] is True, str(timezone)[:20]
    assert (await ask(client, "ping"))["result"] == {}


async def test_a_bug_behind_a_tool(client: httpx.AsyncClient, services: MemoryServices):
    """No text of the exception, and the next call works [mcp 11 #7]."""
    services.insights.failure = RuntimeError("SELECT secret")  # type: ignore[assignment] a bug
    result = await call(client, "query_insights", GOOD_QUERY)
    error = failure(result)
    assert error["code"] == "INTERNAL"
    assert "SELECT" not in str(result)
    services.insights.failure = None
    assert (await call(client, "query_insights", GOOD_QUERY))["isError"] is False


async def test_a_store_that_is_away(client: httpx.AsyncClient):
    """The RPC's code and reason."""
    error = failure(await call(client, "get_profile", {"id": "someone"}))
    assert error["code"] == "UNAVAILABLE"


async def test_two_projects_at_once(client: httpx.AsyncClient, services: MemoryServices):
    """Each call is that of its own key, also while others are in work [mcp 8, 11 #8]."""
    seen: list[tuple[str, str]] = []
    both = asyncio.Event()

    class Keys:
        async def resolve(self, token: str) -> MemoryPrincipal | None:
            return {
                PRIVATE_KEY: MemoryPrincipal(project_id="one"),
                OTHER_KEY: MemoryPrincipal(project_id="two"),
            }.get(token)

    class Insights(type(services.insights)):
        async def query(self, principal: Any, request: Any) -> Any:
            seen.append((principal.project_id, request.spec.events[0].event.kind))
            if len(seen) == 2:
                both.set()
            await both.wait()
            return await super().query(principal, request)

    services.keys = Keys()  # type: ignore[assignment] for this once
    services.insights = Insights()
    app = create_app(services, Settings())

    def about(kind: str) -> Json:
        question: Json = json.loads(json.dumps(GOOD_QUERY))
        question["spec"]["events"][0]["event"]["kind"] = kind
        return question

    async with (
        asyncio.timeout(30),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, client=PEER),  # type: ignore[arg-type] ASGI, spelt by another library
            base_url="http://pug.example",
        ) as asking,
    ):
        await asyncio.gather(
            call(asking, "query_insights", about("first"), key=PRIVATE_KEY),
            call(asking, "query_insights", about("second"), key=OTHER_KEY),
        )
    assert sorted(seen) == [("one", "first"), ("two", "second")]


async def test_an_agent_in_a_loop(client: httpx.AsyncClient):
    """Refused as a result that says when to come again; listing is still possible."""
    burst = int(CALLS_PER_SECOND * BURST_SECONDS)
    results = [await call(client, "query_insights", {}) for _ in range(burst * 2)]
    codes = [failure(result)["code"] for result in results]
    assert codes[0] == "INVALID_ARGUMENT"
    assert codes[-1] == "RESOURCE_EXHAUSTED"
    types = [detail["@type"] for detail in failure(results[-1])["details"]]
    assert "type.googleapis.com/google.rpc.RetryInfo" in types
    assert len((await ask(client, "tools/list"))["result"]["tools"]) == len(TOOLS)


async def test_a_caller_who_leaves(services: MemoryServices):
    """The work ends when nobody waits for it any more."""
    begun, ended = asyncio.Event(), asyncio.Event()

    class Insights(type(services.insights)):
        async def query(self, _principal: Any, _request: Any) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    services.insights = Insights()
    app = create_app(services, Settings())
    asked = {"name": "query_insights", "arguments": GOOD_QUERY}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked}).encode()
    given = False

    async def receive() -> Any:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        return None

    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "root_path": "",
        "query_string": b"",
        "headers": [
            (name.encode(), value.encode())
            for name, value in {**KEY, "content-type": "application/json"}.items()
        ],
        "client": ("203.0.113.9", 1),
        "server": ("pug.example", 80),
    }
    async with asyncio.timeout(30):
        await app(scope, receive, send)
    assert ended.is_set()
