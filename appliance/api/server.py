"""Runs the application under Granian, in this process, on a socket that may be inherited.

Invariant: the listening socket outlives us when somebody else holds it (`PUG_LISTEN_FD`, systemd's
`LISTEN_FDS`), so a restart refuses nobody; Granian never respawns anything, the supervisor restarts
the process as a whole; READY is told only after a request was answered. Next: `app.py`.

Granian has no public option for an inherited socket: `_init_shared_socket` of the exactly pinned
version is overridden, and `tests/integration/api/test_server.py` fails when that stops working.
"""

import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols, TaskImpl
from granian.errors import FatalError
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server.embed import Server
from litestar.types import ASGIApp

from appliance.api.app import create_app
from appliance.api.drain import DRAIN_SECONDS, Draining
from appliance.api.metrics import TLS_EXPIRES
from appliance.api.ports import Services
from appliance.api.unread import closing_unread
from appliance.base.errors import MisconfiguredError, UnavailableError, UnmetError
from appliance.base.ready import (
    GRPC_DESCRIPTOR_VARIABLE,
    LISTEN_DESCRIPTOR_VARIABLE,
    announce_ready,
    systemd_listeners,
)
from appliance.base.tasks import poll
from appliance.config.model import Settings, TlsVersion
from appliance.config.tls import TlsFiles, find_tls, load_expiry

LISTEN_BACKLOG: Final = 2048
WORKERS_KILL_TIMEOUT_SECONDS: Final = 10
"""What a request may still take after the stop signal [services 2.6]."""

COLLECTOR_THRESHOLDS: Final = (50_000, 20, 50)
"""Containers made before the cycle collector looks, then its older generations."""

_TLS_VERSIONS: Final = {
    TlsVersion.V1_2: SSLProtocols.tls12,
    TlsVersion.V1_3: SSLProtocols.tls13,
}
_FIRST_ANSWER_TIMEOUT_SECONDS: Final = 15.0
_FIRST_ANSWER_POLL_SECONDS: Final = 0.01
_HEADER_READ_TIMEOUT_MS: Final = 15_000
_CONNECTION_BUFFER_BYTES: Final = 128 << 10
"""What a connection may have sent that nobody has read: all of them together stay small."""
_HEADERS_BYTES_MAX: Final = 64 << 10
_PING_MS: Final = 30_000
"""How often an HTTP/2 client that says nothing is asked whether it is there."""
_SYSTEMD_FIRST_DESCRIPTOR: Final = 3

_log = structlog.get_logger()


class _Granian(Server):
    """Granian on a socket of ours."""

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        requests_max: int,
        tls: TlsFiles | None,
        tls_version_min: TlsVersion,
    ) -> None:
        host, port = listener.getsockname()[:2]
        super().__init__(
            app,
            address=str(host),
            port=int(port),
            interface=Interfaces.ASGI,
            runtime_threads=1,
            task_impl=TaskImpl.asyncio,
            http=HTTPModes.auto,
            websockets=False,
            backlog=LISTEN_BACKLOG,
            backpressure=requests_max,
            http1_settings=HTTP1Settings(
                header_read_timeout=_HEADER_READ_TIMEOUT_MS,
                max_buffer_size=_CONNECTION_BUFFER_BYTES,
            ),
            http2_settings=HTTP2Settings(
                initial_connection_window_size=_CONNECTION_BUFFER_BYTES,
                initial_stream_window_size=_CONNECTION_BUFFER_BYTES,
                keep_alive_interval=_PING_MS,
                max_headers_size=_HEADERS_BYTES_MAX,
            ),
            log_enabled=True,
            log_level=LogLevels.error,
            log_access=False,
            ssl_cert=tls.certificate if tls else None,
            ssl_key=tls.key if tls else None,
            ssl_protocol_min=_TLS_VERSIONS[tls_version_min],
        )
        self.workers_kill_timeout = WORKERS_KILL_TIMEOUT_SECONDS
        self._listener = listener

    def _init_shared_socket(self) -> None:
        descriptor = os.dup(self._listener.fileno())  # Granian closes the one it is given
        self._ssp = None
        self._shd = SocketHolder(descriptor, False, LISTEN_BACKLOG)  # noqa: FBT003 # pyright: ignore[reportCallIssue] # Granian's stub lacks: descriptor, is Unix, backlog
        self._sfd = descriptor


def open_listener(settings: Settings) -> socket.socket:
    """The inherited listening socket, or a fresh one at `api.host` and `api.port`.

    Raises UnmetError when the address cannot be had.
    """
    descriptor = _inherited_descriptor()
    if descriptor is not None:
        listener = socket.socket(fileno=descriptor)
        listener.settimeout(0)
        return listener
    return _bind(settings.api.host, settings.api.port, setting="api.port")


def _bind(host: str, port: int, *, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        raise UnmetError(
            "ADDRESS_NOT_AVAILABLE",
            f"cannot listen on {host} port {port}: {error.strerror}",
            hint=f"stop whatever uses it or set {setting}",
        ) from error
    return listener


def _inherited_descriptor() -> int | None:
    ours = os.environ.get(LISTEN_DESCRIPTOR_VARIABLE)  # noqa: TID251 a process door, not a setting
    if ours is not None:
        return int(ours)
    if os.environ.get("LISTEN_FDS", "0") == "0":  # noqa: TID251 a process door, not a setting
        return None
    addressee = os.environ.get("LISTEN_PID")  # noqa: TID251 a process door, not a setting
    return _SYSTEMD_FIRST_DESCRIPTOR if addressee in {None, str(os.getpid())} else None


def _inherited_grpc() -> socket.socket | None:
    """The listening socket of the gRPC port, when our starter or systemd holds it."""
    ours = os.environ.get(GRPC_DESCRIPTOR_VARIABLE)  # noqa: TID251 a process door, not a setting
    if ours is not None:
        return socket.socket(fileno=int(ours))
    held = systemd_listeners(os.environ)[1:]  # noqa: TID251 a process door, not a setting
    return socket.socket(fileno=held[0]) if held else None


def run(
    settings: Settings, services: Services, *, on_ready: Callable[[int], None] | None = None
) -> None:
    """Serve until told to stop, then end this process; returns only by raising what `serve` raises.

    Granian's threads may still hand a closed connection to the interpreter while that is being torn
    down, which aborts the process (seen in 1 of 3 stops under load). Everything of ours is closed
    and flushed by then, so the process leaves without the tearing down.
    """
    asyncio.run(serve(settings, services, on_ready=on_ready))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def serve(
    settings: Settings, services: Services, *, on_ready: Callable[[int], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; then let running requests end and close the services.

    Raises UnmetError when the address is taken and UnavailableError when nothing answers in time.
    """
    listener = open_listener(settings)
    grpc = None
    if settings.api.grpc_port is not None:
        grpc = _inherited_grpc() or _bind(
            settings.api.host, settings.api.grpc_port, setting="api.grpc_port"
        )
    tls = find_tls(settings)
    app = create_app(services, settings)
    draining = Draining()
    server = _make_server(draining.wrap(closing_unread(app)), listener, settings, tls)
    port = int(listener.getsockname()[1])
    stopping = asyncio.Event()

    async def leave() -> None:
        draining.begin(listener)
        services.live.end()
        await asyncio.sleep(DRAIN_SECONDS)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(_serve_to_the_end(server, stopping))
            group.create_task(_stop_in_order(app, grpc, stopping, server, leave))
            await _first_answer(listener, serving, secure=tls is not None)
            _settle_collector()
            _log.info("api_ready", port=port, tls=tls is not None)
            announce_ready(port=port)
            if on_ready is not None:
                on_ready(port)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        listener.close()
    _log.info("api_stopped", port=port)


def _make_server(
    app: ASGIApp, listener: socket.socket, settings: Settings, tls: TlsFiles | None
) -> _Granian:
    """Granian with our certificate, if there is one.

    Raises MisconfiguredError for a certificate that cannot be served with.
    """
    if tls is not None:
        TLS_EXPIRES.set(load_expiry(tls).timestamp())
    try:
        return _Granian(
            app,
            listener,
            requests_max=settings.api.requests_max,
            tls=tls,
            tls_version_min=settings.tls.version_min,
        )
    except (ssl.SSLError, OSError) as error:
        assert tls is not None, "only a certificate is read there"
        raise MisconfiguredError(
            "TLS_UNUSABLE",
            f"the certificate {tls.certificate} cannot be used: {error.strerror or error}",
            hint="see `pug-appliance tls show`",
        ) from error


async def _serve_to_the_end(server: _Granian, stopping: asyncio.Event) -> None:
    """Serve; an end nobody asked for is a failure, and the supervisor starts us anew."""
    ended = UnavailableError(
        "API_ENDED", "the HTTP server ended by itself", hint="see the log of the api component"
    )
    try:
        await server.serve()
    except FatalError as error:
        raise ended from error
    if not stopping.is_set():
        raise ended


async def _stop_in_order(
    app: ASGIApp,
    grpc: socket.socket | None,
    stopping: asyncio.Event,
    server: _Granian,
    leave: Callable[[], Awaitable[None]],
) -> None:
    """Serve gRPC, if asked for, until the stop; then stop Granian, which closes the services."""
    if grpc is not None:
        from appliance.api.grpc_listener import serve_grpc  # noqa: PLC0415 10 MB that few need

        await serve_grpc(app, grpc, stopping)
    await stopping.wait()
    await leave()
    server.stop()


def _settle_collector() -> None:
    """Keep the cycle collector away from batches, which die by reference count.

    A batch of 100 events is thousands of containers, so the default threshold of 700 looks at every
    living object several times a batch: 15 % of the ingest's time, measured.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def _first_answer(
    listener: socket.socket, serving: "asyncio.Task[None]", *, secure: bool
) -> None:
    host, port = listener.getsockname()[:2]
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 compared, not bound

    tls = _unverified() if secure else None

    async def ask() -> bool | None:
        if serving.done():
            return False
        try:
            reader, writer = await asyncio.open_connection(near, port, ssl=tls)
            try:
                writer.write(
                    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                line = await reader.readline()
            finally:
                writer.close()
        except OSError:
            return None
        return True if line.startswith(b"HTTP/1.1 200") else None

    answered = await poll(
        ask,
        every_seconds=_FIRST_ANSWER_POLL_SECONDS,
        timeout_seconds=_FIRST_ANSWER_TIMEOUT_SECONDS,
    )
    if not answered:
        raise UnavailableError("API_DOES_NOT_ANSWER", "the API started but does not answer")


def _unverified() -> ssl.SSLContext:
    """For the question to ourselves, which is whether anybody answers and not who."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
