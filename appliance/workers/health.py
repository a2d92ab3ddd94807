"""The workers' `/healthz`, `/readyz` and `/metrics` [workers 3.1].

Invariant: answers come from the state the workers keep, never from a store, so a probe is cheap and
cannot hang. A listener that cannot be opened is logged and the work goes on.
"""

import asyncio
from typing import Final, Self

import structlog

from appliance.domain.figures import render
from appliance.workers.figures import worker_families
from appliance.workers.state import WorkerState

OFF: Final = "off"
REQUEST_SECONDS_MAX: Final = 5.0
REQUEST_BYTES_MAX: Final = 8192
CONNECTIONS_MAX: Final = 32
_STATUS: Final = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}

_LOG: Final = structlog.stdlib.get_logger()


def healthz(states: tuple[WorkerState, ...]) -> tuple[int, str]:
    """200 while every worker's loop runs; else 503 and the reason, to be restarted."""
    for state in states:
        if state.broken:
            return 503, f"worker {state.name} is broken: {state.broken}"
    return 200, "ok"


def readyz(states: tuple[WorkerState, ...]) -> tuple[int, str]:
    """200 when every worker consumes and the queue is connected; else 503 and the reason."""
    for state in states:
        if state.broken:
            return 503, f"worker {state.name} is broken: {state.broken}"
        if not state.started:
            return 503, f"worker {state.name} has not started" + (
                f": {state.pause}" if state.pause else ""
            )
        if not state.connected:
            return 503, f"worker {state.name}: the queue is not connected"
    return 200, "ok"


class HealthListener:
    """The HTTP listener of one worker process."""

    def __init__(self, address: str, states: tuple[WorkerState, ...]) -> None:
        self._address = address.strip()
        self._states = states
        self._server: asyncio.Server | None = None
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)

    @property
    def port(self) -> int | None:
        """The port it answers on, or None when it is off."""
        if self._server is None:
            return None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        if self._address.lower() == OFF:
            return self
        host, _, port = self._address.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._answer, host or "127.0.0.1", int(port), limit=REQUEST_BYTES_MAX
            )
        except (OSError, ValueError) as error:
            _LOG.warning("health_listener_failed", address=self._address, cause=str(error))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._slots, asyncio.timeout(REQUEST_SECONDS_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].split(b"?")[0].decode("ascii", "replace")
                status, text = self._route(path)
                body = text.encode()
                writer.write(
                    f"HTTP/1.1 {status} {_STATUS[status]}\r\n"
                    "Content-Type: text/plain; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (OSError, TimeoutError, IndexError, asyncio.IncompleteReadError, ValueError):
            pass  # whoever asked went away or did not speak HTTP
        finally:
            writer.close()

    def _route(self, path: str) -> tuple[int, str]:
        match path:
            case "/healthz":
                status, text = healthz(self._states)
            case "/readyz":
                status, text = readyz(self._states)
            case "/metrics":
                return 200, render(worker_families(self._states))
            case _:
                return 404, "not found\n"
        return status, text + "\n"
