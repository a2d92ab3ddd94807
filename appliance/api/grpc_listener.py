"""Native gRPC on a port of its own, where the setting `api.grpc_port` asks for it.

Invariant: it is the same application with the same checks; only the HTTP server differs, because
gRPC ends a call with HTTP trailers and Granian 2.8 has none (docs/decisions/0004). The ingest's
fast way stays Granian's. Cleartext HTTP/2 with prior knowledge: a proxy in front ends TLS, as
[services 2.1] has it.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import structlog
from hypercorn.asyncio import serve  # pyright: ignore[reportUnknownVariableType] # a type left open
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from litestar.types import ASGIApp

from appliance.api.limits import BODY_SECONDS_MAX

GRACE_SECONDS: Final = 10.0
"""What a call may still take after the stop signal [services 2.6]."""

STREAMS_MAX: Final = 128
"""Calls at once on one connection."""

_Message = dict[str, Any]  # ASGI messages of both servers' typings
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_log = structlog.get_logger()


async def serve_grpc(app: ASGIApp, listener: socket.socket, stopping: asyncio.Event) -> None:
    """Serve `app` on `listener` until `stopping` is set and running calls have ended."""
    port = int(listener.getsockname()[1])
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.accesslog = None
    config.include_server_header = False
    config.graceful_timeout = GRACE_SECONDS
    config.h2_max_concurrent_streams = STREAMS_MAX
    _log.info("grpc_listener_ready", port=port)
    await serve(
        cast("ASGIFramework", _adapted(app)),
        config,
        shutdown_trigger=stopping.wait,
        mode="asgi",
    )


def _adapted(app: ASGIApp) -> Callable[[_Message, _Receive, _Send], Awaitable[None]]:
    """The application as this server needs it: no second lifespan, no answer before the body."""

    async def call(scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await _idle(receive, send)
            return
        exchange = _Exchange(receive, send)
        await app(cast("Any", scope), cast("Any", exchange.receive), cast("Any", exchange.send))

    return call


async def _idle(receive: _Receive, send: _Send) -> None:
    """Agree to start and stop; the services are opened and closed by the other server alone."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


class _Exchange:
    """One request whose answer waits until the body has come.

    Hypercorn forgets a stream when it is answered and then breaks the whole connection on the rest
    of its body; a refusal, which needs no body, would hit every other call of the client.
    """

    def __init__(self, receive: _Receive, send: _Send) -> None:
        self._receive = receive
        self._send = send
        self._complete = False

    async def receive(self) -> _Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._complete = True
        return message

    async def send(self, message: _Message) -> None:
        if message["type"] == "http.response.start" and not self._complete:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                while not self._complete:
                    await self.receive()
        await self._send(message)
