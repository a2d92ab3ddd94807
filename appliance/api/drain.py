"""Leaves a shared public socket without cutting an answer.

Invariant: from `begin` on this process takes no new connection, and every HTTP/1 answer asks its
client to connect again, which then reaches whoever else listens on the socket (another release, or
nobody yet, and waits). After `DRAIN_SECONDS` nobody who talks to us regularly is connected here,
so that stopping the server closes connections on which nothing is under way. HTTP/2 has a message
of its own for this, which Granian sends. Decision 0014.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

DRAIN_SECONDS: Final = 0.6
"""Longer than the pause between two requests of a busy client."""
_CLOSE: Final = (b"connection", b"close")


class Draining:
    """The state of one server: serving, or about to leave."""

    def __init__(self) -> None:
        self._begun = False
        self._blind: socket.socket | None = None

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The same application, which says goodbye once draining has begun."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if not self._begun or scope["type"] != "http":
                await app(scope, receive, self._watched(scope, send))
            else:
                await app(scope, receive, _closing(scope, send))

        return serve

    def begin(self, listener: socket.socket) -> None:
        """Take no more connections from a listening socket that others may listen on too."""
        self._begun = True
        blind = socket.socket(listener.family, socket.SOCK_STREAM)
        blind.settimeout(0)
        blind.bind(("::1" if listener.family == socket.AF_INET6 else "127.0.0.1", 0))
        blind.listen(1)
        # Closing the server's descriptor would leave it with a number that somebody else gets, and
        # a shutdown would end the socket for the others. So the number is given another socket, to
        # which nobody connects: whenever the server is woken it finds nothing to accept.
        for descriptor in _same_socket(listener):
            os.dup2(blind.fileno(), descriptor)
        self._blind = blind

    def _watched(self, scope: Scope, send: Send) -> Send:
        """For a request that began before the draining and ends after it."""
        if scope["type"] != "http":
            return send
        closing = _closing(scope, send)

        async def choose(message: Message) -> None:
            await (closing if self._begun else send)(message)

        return choose


def _closing(scope: Scope, send: Send) -> Send:
    if scope["type"] != "http" or not scope["http_version"].startswith("1"):
        return send

    async def with_goodbye(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], _CLOSE]
        await send(message)

    return with_goodbye


def _same_socket(listener: socket.socket) -> list[int]:
    """Every descriptor of this process that is the given socket."""
    wanted = os.fstat(listener.fileno()).st_ino
    found: list[int] = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if entry.stat().st_ino == wanted:
                found.append(int(entry.name))
    return found
