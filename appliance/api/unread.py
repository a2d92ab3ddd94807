"""Tells a client whose body was not read to its end that its connection is over.

Invariant: an HTTP/1 answer given before the whole body came says `connection: close`. The server
closes such a connection after the answer anyway, because the rest of the body is in its way; a
client that was not told sends its next request into that and takes it for a failure.
"""

from typing import Final

from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope, Message, Receive, Scope, Send

_CLOSE: Final = (b"connection", b"close")


def closing_unread(app: ASGIApp) -> ASGIApp:
    """The same application, whose early answers end their connection."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["http_version"].startswith("1") and _has_body(scope):
            body = _Body(receive, send)
            await app(scope, body.receive, body.send)
        else:
            await app(scope, receive, send)

    return serve


def _has_body(scope: HTTPScope) -> bool:
    for name, text in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and text != b"0"):
            return True
    return False


class _Body:
    """The body of one request, and whether all of it came."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._whole = False

    async def receive(self) -> HTTPReceiveMessage:
        message = await self._receive()
        if message["type"] != "http.request" or not message["more_body"]:
            self._whole = True
        return message  # pyright: ignore[reportReturnType] # only http messages reach services

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._whole:
            message["headers"] = [*message["headers"], _CLOSE]
        await self._send(message)
