"""The Model Context Protocol itself, by the official SDK, one HTTP request at a time.

Invariant: nothing outlives a request: each has a session manager of its own, so no key, no caller
and no task of one can be met by another [mcp 1]. This is the one module that imports the SDK; it is
imported when the first agent comes, because it is 30 MB that most appliances never need.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

import structlog
from litestar.types import HTTPScope, Receive, Send
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from starlette.requests import Request

from appliance.api.mcp.inner import Asked
from appliance.api.mcp.schemas import input_schema, output_schema
from appliance.api.mcp.surface import Offer
from appliance.api.mcp.texts import INSTRUCTIONS, TOOL_TEXTS
from appliance.api.mcp.tools import NoSuchToolError, Tools
from appliance.api.mcp.values import Json

SERVER_NAME: Final = "pug"
SERVER_VERSION: Final = "0.1.0"
"""Of the surface, not of the release [mcp 3]."""
ASKED: Final = "pug.asked"
"""Where an outer request's scope holds what its tool call needs."""

_Context = ServerRequestContext[Any, Any]  # the SDK's own shape

_log = structlog.get_logger()


class AgentProtocol:
    """Speaks MCP, stateless, with plain JSON answers."""

    def __init__(self, tools: Tools, *, body_bytes_max: int) -> None:
        self._tools = tools
        self._body_bytes_max = body_bytes_max
        listed = {name: _tool(offer) for name, offer in tools.offers.items()}
        self._list = ListToolsResult(tools=list(listed.values()))
        self._server: Server[Any] = Server(
            SERVER_NAME,
            version=SERVER_VERSION,
            instructions=INSTRUCTIONS,
            get_tool_input_schema=lambda name: (
                listed[name].input_schema if name in listed else None
            ),
            on_list_tools=self._on_list,
            on_call_tool=self._on_call,
        )
        self._server.middleware.clear()  # spans that nobody collects
        # The SDK's own lines quote what callers send, and have nobody who formats them.
        quiet = logging.getLogger("mcp")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False

    async def serve(self, scope: HTTPScope, receive: Receive, send: Send, asked: Asked) -> None:
        """Answer one request."""
        manager = StreamableHTTPSessionManager(
            app=self._server,
            json_response=True,
            stateless=True,
            session_idle_timeout=None,
            max_request_body_size=self._body_bytes_max,
        )
        marked = cast("Any", {**scope, ASKED: asked})
        async with manager.run():
            await manager.handle_request(marked, cast("Any", receive), cast("Any", send))

    async def _on_list(
        self, _context: _Context, _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return self._list

    async def _on_call(self, context: _Context, params: CallToolRequestParams) -> CallToolResult:
        request = context.request
        asked = request.scope.get(ASKED) if isinstance(request, Request) else None
        if not isinstance(asked, Asked):
            _log.error("mcp_call_without_caller", tool=params.name)
            raise MCPError(code=INVALID_PARAMS, message="this call has no caller")
        try:
            answer = await self._tools.call(
                params.name, cast("Mapping[str, Json]", params.arguments or {}), asked
            )
        except NoSuchToolError:
            raise MCPError(code=INVALID_PARAMS, message="there is no such tool") from None
        return CallToolResult(
            content=[TextContent(type="text", text=answer.text)],
            structured_content=answer.structured,
            is_error=answer.failed,
        )


def _tool(offer: Offer) -> Tool:
    return Tool(
        name=offer.tool,
        description=TOOL_TEXTS[offer.tool],
        input_schema=input_schema(offer.request),
        output_schema=output_schema(offer.response),
        annotations=ToolAnnotations(
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    )
