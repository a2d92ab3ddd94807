"""`/mcp`: the HTTP face of the tools for agents.

Invariant: who is calling comes first, before method, headers and body, and a stranger sees 401 and
nothing else [mcp 1, 2]; a body is held only within its limit; a caller who goes away takes the work
along. The protocol behind it is loaded for the first caller with a key, outside the event loop.
Next: `protocol.py`, then `tools.py`.
"""

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Message, Receive, Send

from appliance.api.authenticate import admit, agent_token
from appliance.api.call import Boundary, Call
from appliance.api.errors import wire_error
from appliance.api.frame import SAFETY_HEADERS, Frame, door, send_whole
from appliance.api.gateway import Refused
from appliance.api.leaving import unless_gone
from appliance.api.limits import discard, limited, whole_body
from appliance.api.mcp.inner import Asked, body_then
from appliance.api.mcp.tools import Tools
from appliance.api.ports import Access, Keys
from appliance.api.protocols import Answer, Headers, media_type, refusal

if TYPE_CHECKING:
    from appliance.api.mcp.protocol import AgentProtocol

PATH: Final = "/mcp"
BODY_BYTES_MAX: Final = 4 << 20
"""The largest request [mcp 1]."""
LEAVE_SECONDS: Final = 3.0
"""How long a call whose caller is gone may take to notice it before it is cancelled."""
_JSON: Final = "application/json"
_LOCAL_NAME: Final = "localhost"
_FORWARDED: Final = ("x-forwarded-for", "x-forwarded-host", "forwarded")
_CODES: Final = {403: Code.PERMISSION_DENIED, 405: Code.UNIMPLEMENTED}
_FAILED_FROM: Final = 400


class McpEndpoint:
    """Serves requests of agents."""

    def __init__(self, tools: Tools, *, keys: Keys, access: Access, frame: Frame) -> None:
        self._tools = tools
        self._keys = keys
        self._access = access
        self._frame = frame
        self._protocol: AgentProtocol | None = None
        self._loading = asyncio.Lock()

    def handler(self) -> ASGIRouteHandler:
        """The route; a slash at its end makes no difference."""
        return door(PATH, self.serve)

    async def serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, whatever it is."""
        with self._frame.around(scope, Boundary.MCP, service="mcp", method="-") as visit:
            outgoing = _Outgoing(send)
            try:
                await self._answer(visit.call, scope, receive, outgoing)
            except Refused as refused:
                if outgoing.status:
                    raise
                answer = refusal(refused.error, content_type="", status=refused.status)
                await discard(receive, BODY_BYTES_MAX)
                headers = [*answer.headers, *refused.headers]
                whole = Answer(status=answer.status, headers=headers, body=answer.body)
                await send_whole(outgoing, whole)
            visit.status = outgoing.status
            if visit.call.code == "ok" and outgoing.status >= _FAILED_FROM:
                visit.code = f"http_{outgoing.status}"

    async def _answer(
        self, call: Call, scope: HTTPScope, receive: Receive, outgoing: "_Outgoing"
    ) -> None:
        try:
            await admit(call, scope["query_string"], self._keys, self._access)
            _check(scope, call)
            body = await _read(receive)
            key = agent_token(call.headers)
            assert key is not None, "authenticated a moment ago"
            asked = Asked(call=call, key=key, scope=scope, gone=asyncio.Event())
            protocol = await self._loaded()
            await unless_gone(
                protocol.serve(asked.scope, body_then(body, asked.gone), outgoing, asked),
                receive,
                tell=asked.gone.set,
                patience_seconds=LEAVE_SECONDS,
            )
        except Refused:
            raise
        except Exception as error:
            raise Refused(wire_error(error)) from error

    async def _loaded(self) -> "AgentProtocol":
        """The protocol, loaded once: seconds of importing must not stop the loop."""
        async with self._loading:
            if self._protocol is None:
                self._protocol = await asyncio.to_thread(_load, self._tools)
            return self._protocol


class _Outgoing:
    """The way back: adds the headers every answer has and remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])  # the SDK gives an enum
            message["headers"] = [*message["headers"], *SAFETY_HEADERS]
        await self._send(message)


def _load(tools: Tools) -> "AgentProtocol":
    from appliance.api.mcp.protocol import AgentProtocol  # noqa: PLC0415 30 MB that few need

    return AgentProtocol(tools, body_bytes_max=BODY_BYTES_MAX)


def _check(scope: HTTPScope, call: Call) -> None:
    """Raise Refused for a request that cannot be MCP [mcp 1]."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    if scope["method"] != "POST":
        raise _refused("agents speak with POST", 405, [(b"allow", b"POST")])
    host = _host(headers)
    if _is_local(call.peer) and host and not _is_local(host) and not _is_forwarded(headers):
        raise _refused("a request from this machine must name this machine as its host", 403)
    if media_type(headers.get("content-type", "")) != _JSON:
        raise _refused("the content type must be application/json", 415)
    if not _accepts(headers.get("accept", "")):
        raise _refused("application/json and text/event-stream must be acceptable", 400)
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
        raise _refused(f"the body is larger than {BODY_BYTES_MAX} bytes", 413)


async def _read(receive: Receive) -> bytes:
    """The body, whole; raises Refused."""
    try:
        body = await whole_body(limited(receive, BODY_BYTES_MAX))
    except ConnectError as error:
        status = 413 if error.code is Code.INVALID_ARGUMENT else None
        raise Refused(error, status=status) from error
    if body is None:
        raise _refused("the request ended before its body", 400)
    return body


def _accepts(accept: str) -> bool:
    """Whether both forms of an answer may come, though ours are always JSON."""
    kinds = {media_type(part) for part in accept.split(",")}
    json = {"*/*", _JSON, "application/*"}
    events = {"*/*", "text/event-stream", "text/*"}
    return bool(kinds & json) and bool(kinds & events)


def _host(headers: Mapping[str, str]) -> str:
    """The host that the caller named, without port and brackets."""
    host = headers.get("host", "").strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_local(name: str) -> bool:
    if name == _LOCAL_NAME or name.endswith(f".{_LOCAL_NAME}"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _is_forwarded(headers: Mapping[str, str]) -> bool:
    """Whether a proxy on this machine passed the request on, with the host it was asked for."""
    return any(name in headers for name in _FORWARDED)


def _refused(message: str, status: int, headers: Headers | None = None) -> Refused:
    code = _CODES.get(status, Code.INVALID_ARGUMENT)
    return Refused(wire_error(ConnectError(code, message)), status=status, headers=headers)
