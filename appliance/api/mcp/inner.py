"""A tool call as a request to the server itself, in this process.

Invariant: the request goes through the same gateway as one from outside, so nothing is skipped and
nothing decided twice; it carries the key of its own outer request, which is kept nowhere else, a
deadline, and the outer correlation id [mcp 8].
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from litestar.types import HTTPReceiveMessage, HTTPScope, Message, Receive
from msgspec import Struct

from appliance.api.call import Call
from appliance.api.gateway import Gateway
from appliance.api.mcp.surface import Offer
from appliance.api.rpc.registry import MountedService
from appliance.base.errors import TimedOutError

SECONDS_MAX: Final = 120.0
"""How long a tool call may take [mcp 8]."""
_PATIENCE_SECONDS: Final = 5.0
"""How much later than the deadline the answer may come that tells about it."""
_KEPT_HEADERS: Final = frozenset({b"x-forwarded-for", b"user-agent", b"traceparent", b"baggage"})
_TOO_LONG: Final = "the call took longer than {:g} seconds; ask for less, such as a shorter window"


class Asked(Struct, kw_only=True):
    """The outer request that a tool call belongs to; `gone` is set when nobody waits any more."""

    call: Call
    key: str
    scope: HTTPScope
    gone: asyncio.Event


class InnerAnswer(Struct, frozen=True, kw_only=True):
    """What the gateway answered, Connect unary JSON."""

    status: int
    body: bytes


class InnerCalls:
    """Asks the gateway."""

    def __init__(
        self,
        gateway: Gateway,
        services: Iterable[MountedService],
        *,
        seconds_max: float = SECONDS_MAX,
    ) -> None:
        assert 0 < seconds_max <= SECONDS_MAX
        self._gateway = gateway
        self._services = {service.name: service for service in services}
        self._seconds_max = seconds_max

    async def ask(self, offer: Offer, body: bytes, asked: Asked) -> InnerAnswer:
        """The answer to one unary call.

        Raises TimedOutError when even the answer about the deadline did not come.
        """
        service = self._services[offer.service]
        assert service.methods[offer.method] is False, "only unary calls are replayed"
        answer = _Collected()
        try:
            async with asyncio.timeout(self._seconds_max + _PATIENCE_SECONDS):
                await self._gateway.serve(
                    service,
                    offer.method,
                    self._scope(offer, body, asked),
                    body_then(body, asked.gone),
                    answer,
                    request_id=asked.call.request_id,
                )
        except TimeoutError as error:
            raise TimedOutError("DEADLINE_EXCEEDED", _TOO_LONG.format(self._seconds_max)) from error
        return InnerAnswer(status=answer.status, body=b"".join(answer.parts))

    def _scope(self, offer: Offer, body: bytes, asked: Asked) -> HTTPScope:
        path = f"/{offer.service}/{offer.method}"
        headers = [pair for pair in asked.scope["headers"] if pair[0] in _KEPT_HEADERS]
        headers += [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connect-timeout-ms", str(round(self._seconds_max * 1000)).encode()),
            (b"x-api-key", asked.key.encode("latin-1")),
        ]
        return {
            **asked.scope,
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": headers,
        }


class _Collected:
    """The way back: keeps the answer."""

    def __init__(self) -> None:
        self.status = 0
        self.parts: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.parts.append(message["body"])


def body_then(body: bytes, gone: asyncio.Event) -> Receive:
    """A `receive` that gives the body, and then the news that the caller went away."""
    given = False

    async def receive() -> HTTPReceiveMessage:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive
