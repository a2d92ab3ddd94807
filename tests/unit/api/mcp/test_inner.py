"""The request that a tool call becomes [mcp 8]."""

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolRequestParams
from starlette.requests import Request
from structlog.testing import capture_logs

from appliance.api.address import TrustedProxies
from appliance.api.call import Boundary, Call, current_call
from appliance.api.cors import CorsPolicy
from appliance.api.frame import Frame
from appliance.api.gateway import Gateway
from appliance.api.limits import BodyBudget
from appliance.api.mcp.inner import SECONDS_MAX, Asked, InnerCalls
from appliance.api.mcp.protocol import AgentProtocol
from appliance.api.mcp.rates import CallRates
from appliance.api.mcp.surface import checked_surface
from appliance.api.mcp.tools import Tools
from appliance.api.rpc.registry import MountedService, mounted_services
from appliance.base.clock import SystemClock
from appliance.base.ids import IdMaker
from tests.support.api_services import PRIVATE_KEY, MemoryServices
from tests.support.rpc import GOOD_QUERY

pytestmark = pytest.mark.anyio

REQUEST_ID = "0" * 20
OFFERS = checked_surface().offers


def gateway_of(services: MemoryServices) -> Gateway:
    clock = SystemClock()
    return Gateway(
        keys=services.keys,
        access=services.control.access,
        cors=CorsPolicy(("*",)),
        body_bytes_max=1 << 20,
        frame=Frame(
            proxies=TrustedProxies(()), bodies=BodyBudget(1 << 20), clock=clock, ids=IdMaker(clock)
        ),
    )


def asked_by(key: str = PRIVATE_KEY, headers: Mapping[str, str] | None = None) -> Asked:
    scope: Any = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "root_path": "",
        "query_string": b"a=b",
        "headers": [(n.encode(), v.encode()) for n, v in (headers or {}).items()],
        "client": ("203.0.113.9", 1),
    }
    call = Call(request_id=REQUEST_ID, boundary=Boundary.MCP, headers=headers or {}, peer="")
    return Asked(call=call, key=key, scope=scope, gone=asyncio.Event())


async def test_what_the_service_gets(services: MemoryServices):
    """The key, a deadline of two minutes at most, the correlation id, and nothing of the agent's
    own credentials.
    """
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append((dict(scope["headers"]), await receive(), current_call.get().request_id))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    offer = OFFERS["get_profile"]
    service = MountedService(
        name=offer.service,
        boundary=Boundary.SHARED,
        methods={offer.method: False},
        application=application,  # type: ignore[arg-type] any ASGI application
    )
    headers = {"authorization": "Bearer x", "x-forwarded-for": "198.51.100.4", "accept": "*/*"}
    inner = InnerCalls(gateway_of(services), [service])
    answer = await inner.ask(offer, b'{"id":"x"}', asked_by(headers=headers))
    assert (answer.status, answer.body) == (200, b"{}")
    ((got, body, request_id),) = seen
    assert got[b"x-api-key"] == PRIVATE_KEY.encode()
    assert 0 < int(got[b"connect-timeout-ms"]) <= SECONDS_MAX * 1000 == 120_000
    assert got[b"x-forwarded-for"] == b"198.51.100.4"
    assert b"authorization" not in got
    assert body["body"] == b'{"id":"x"}'
    assert request_id == REQUEST_ID


async def test_no_stream_is_replayed(services: MemoryServices):
    """A streaming call would be gathered without end; it is refused as our own mistake."""
    offer = OFFERS["get_profile"]
    streaming = MountedService(
        name=offer.service,
        boundary=Boundary.SHARED,
        methods={offer.method: True},
        application=None,  # type: ignore[arg-type] never reached
    )
    with pytest.raises(AssertionError, match="unary"):
        await InnerCalls(gateway_of(services), [streaming]).ask(offer, b"{}", asked_by())


async def test_deadline(services: MemoryServices):
    """A call that takes too long ends as a result with the flag, and its work ends."""
    services.insights.seconds = 60
    mounted = mounted_services(services, 1 << 20)
    inner = InnerCalls(gateway_of(services), mounted, seconds_max=0.05)
    tools = Tools(OFFERS, inner, CallRates(SystemClock()))
    async with asyncio.timeout(30):
        answer = await tools.call("query_insights", GOOD_QUERY, asked_by())
    assert answer.failed
    assert json.loads(answer.text)["code"] == "DEADLINE_EXCEEDED"
    assert services.insights.requests == []


async def test_a_key_that_was_deleted_meanwhile(services: MemoryServices):
    """The inner call authenticates by itself."""
    inner = InnerCalls(gateway_of(services), mounted_services(services, 1 << 20))
    tools = Tools(OFFERS, inner, CallRates(SystemClock()))
    answer = await tools.call("query_insights", GOOD_QUERY, asked_by("prv_" + "e" * 20))
    assert json.loads(answer.text)["code"] == "UNAUTHENTICATED"
    assert services.insights.requests == []


async def test_a_bug_outside_the_rpc(services: MemoryServices):
    """Generic words with the correlation id [mcp 7]."""

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"SELECT 1", "more_body": False})

    offer = OFFERS["get_profile"]
    service = MountedService(
        name=offer.service,
        boundary=Boundary.SHARED,
        methods={offer.method: False},
        application=application,  # type: ignore[arg-type] any ASGI application
    )
    tools = Tools(OFFERS, InnerCalls(gateway_of(services), [service]), CallRates(SystemClock()))
    answer = await tools.call("get_profile", {"id": "x"}, asked_by())
    assert answer.failed
    assert REQUEST_ID in answer.text
    assert "SELECT" not in answer.text


async def test_a_call_without_a_caller(services: MemoryServices):
    """A fault in our wiring: loud, logged, and nobody is asked anonymously [mcp 8]."""
    inner = InnerCalls(gateway_of(services), mounted_services(services, 1 << 20))
    protocol = AgentProtocol(Tools(OFFERS, inner, CallRates(SystemClock())), body_bytes_max=1 << 20)
    context: Any = SimpleNamespace(request=Request({"type": "http", "headers": []}))
    asked = CallToolRequestParams(name="query_insights", arguments=GOOD_QUERY)
    with capture_logs() as lines, pytest.raises(MCPError):
        await protocol._on_call(context, asked)
    assert [line["event"] for line in lines] == ["mcp_call_without_caller"]
    assert services.insights.requests == []
