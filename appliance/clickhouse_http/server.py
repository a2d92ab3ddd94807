"""The engine process: accepts connections, routes requests, stops in bounded time.

Invariant: when the process says it is ready it answers; when it is asked to stop it takes no new
statement, gives the running ones a moment, kills the rest and closes chDB before it ends.
Where next: `run.py` for a statement's way.
"""

import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import msgspec
import structlog

from appliance.base.clock import Clock, SystemClock
from appliance.base.errors import MisconfiguredError, UnmetError
from appliance.base.ids import random_uuid
from appliance.base.ready import announce_ready
from appliance.clickhouse_http.answer import Answering, Banner
from appliance.clickhouse_http.configuration import (
    PROFILE_NAME,
    query_settings,
    render_configuration,
)
from appliance.clickhouse_http.engine import Engine
from appliance.clickhouse_http.errors import Codes, EngineError, Stopped
from appliance.clickhouse_http.external import read_form
from appliance.clickhouse_http.limits import Admission, yields
from appliance.clickhouse_http.registry import Registry
from appliance.clickhouse_http.request import (
    Credentials,
    Request,
    build_request,
    parse_target,
)
from appliance.clickhouse_http.run import Job, Runner
from appliance.clickhouse_http.session import Sessions
from appliance.clickhouse_http.wire import Exchange, Head

CONNECTIONS_MAX: Final = 1024
DRAIN_SECONDS_MAX: Final = 5.0
KILL_SECONDS_MAX: Final = 5.0
CLOSE_SECONDS_MAX: Final = 5.0
"""After this chDB is left as kill -9 would leave it, which loses nothing acknowledged."""
_BACKLOG: Final = 256
_ACCEPT_POLL_SECONDS: Final = 1.0
_ALLOWED_METHODS: Final = "OPTIONS, HEAD, GET, POST, PUT"
_HELP: Final = (
    "There is no handle for this path.\n\n"
    "Use / or /ping for health checks, /replicas_status for replication, and send queries to /"
    " with POST, or with GET and the parameter query.\n"
)

_log = structlog.get_logger()


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the engine process is told.

    `port` 0 lets the system choose; `memory_bytes_max` bounds all statements together; rows are
    refused while less than `free_bytes_min` of the disk is free;
    `queries_max` is how many statements run at once, others wait `wait_seconds_max`. BACKUP may
    write below `backup_dir`, by default `backups` in the data directory. `listening` is the number
    of a listening socket that somebody else holds; then `host` and `port` are not used.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8123
    user: str
    password_file: Path
    memory_bytes_max: Annotated[int, msgspec.Meta(ge=64 << 20)]
    free_bytes_min: int = 0
    queries_max: Annotated[int, msgspec.Meta(ge=1)] = 16
    backup_dir: Path | None = None
    wait_seconds_max: float = 10.0
    listening: int | None = None


class EngineServer:
    """One listening socket and the threads of its clients."""

    def __init__(self, options: EngineOptions, *, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._credentials = Credentials(
            user=options.user, password=_read_password(options.password_file)
        )
        self._listener = (
            _listen(options.host, options.port)
            if options.listening is None
            else socket.socket(fileno=options.listening)
        )
        try:
            self._engine = Engine(
                data_dir=options.data_dir,
                config=render_configuration(
                    memory_bytes_max=options.memory_bytes_max,
                    free_bytes_min=options.free_bytes_min,
                    backup_dir=options.backup_dir or options.data_dir / "backups",
                    profile_file=options.data_dir / PROFILE_NAME,
                ),
            )
        except BaseException:
            self._listener.close()
            raise
        self._registry = Registry()
        self._sessions = Sessions(self._engine, clock)
        self._admission = Admission(
            queries_max=options.queries_max, wait_seconds_max=options.wait_seconds_max
        )
        self._runner = Runner(
            engine=self._engine,
            sessions=self._sessions,
            registry=self._registry,
            clock=clock,
            defaults=query_settings(memory_bytes_max=options.memory_bytes_max),
            memory_bytes_max=options.memory_bytes_max,
        )
        self._banner = Banner(
            version=f"{self._engine.version} (official build)",
            display_name=self._engine.host,
            timezone=self._engine.timezone,
        )
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._exchanges: dict[Exchange, threading.Thread] = {}

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def version(self) -> str:
        """The version of the engine."""
        return self._engine.version

    def accept_until(self, wake: socket.socket) -> None:
        """Serve clients until a byte arrives on `wake`."""
        poll = select.poll()
        poll.register(self._listener.fileno(), select.POLLIN)
        poll.register(wake.fileno(), select.POLLIN)
        while True:
            ready = dict(poll.poll(_ACCEPT_POLL_SECONDS * 1000))
            if wake.fileno() in ready:
                return
            if self._listener.fileno() in ready:
                self._accept()

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError as error:
            _log.warning("engine_accept_failed", errno=error.errno)
            self._stopping.wait(0.05)
            return
        with self._lock:
            if len(self._exchanges) >= CONNECTIONS_MAX:
                peer.close()
                return
            exchange = Exchange(peer)
            thread = threading.Thread(
                target=self._serve_client, args=(exchange,), name="client", daemon=True
            )
            self._exchanges[exchange] = thread
        thread.start()

    def stop(self) -> None:
        """Drain, kill what remains, close chDB; takes at most the three budgets above."""
        self._stopping.set()
        self._listener.close()
        with self._lock:
            waiting = [exchange for exchange in self._exchanges if exchange.idle]
        for exchange in waiting:
            exchange.interrupt()
        if not self._joined(DRAIN_SECONDS_MAX):
            for name in self._registry.names():
                running = self._registry.find(name)
                if running is not None:
                    running.condemn()
                self._engine.kill(name)
            self._joined(KILL_SECONDS_MAX)
        threading.Thread(target=self._leave_in_time, name="deadline", daemon=True).start()
        self._sessions.close_all()
        self._runner.close()
        self._engine.close()

    def _leave_in_time(self) -> None:
        """End the process when chDB does not close, as with a query that cannot be cancelled."""
        threading.Event().wait(CLOSE_SECONDS_MAX)
        _log.warning("engine_close_abandoned", seconds=CLOSE_SECONDS_MAX)
        os._exit(0)

    def _joined(self, seconds: float) -> bool:
        deadline = self._clock.monotonic_seconds() + seconds
        with self._lock:
            threads = list(self._exchanges.values())
        for thread in threads:
            thread.join(max(0.0, deadline - self._clock.monotonic_seconds()))
        return not any(thread.is_alive() for thread in threads)

    def _serve_client(self, exchange: Exchange) -> None:
        try:
            while not self._stopping.is_set() and self._serve_request(exchange):
                pass
        except Stopped:
            pass
        except Exception:  # noqa: BLE001 a bug ends one connection, not the engine
            _log.exception("engine_request_bug")
        finally:
            exchange.close()
            with self._lock:
                self._exchanges.pop(exchange, None)

    def _serve_request(self, exchange: Exchange) -> bool:
        """Answer one request; False when the connection ends."""
        try:
            head = exchange.next_head()
        except EngineError as error:
            self._answering(exchange, None).fail(error)
            return False
        if head is None:
            return False
        path, parameters = parse_target(head)
        if not self._serve_simple(head, path, parameters, exchange):
            self._serve_statement(head, parameters, exchange)
        return exchange.discard_body()

    def _require_running(self) -> None:
        if self._stopping.is_set():
            raise EngineError(Codes.SERVER_SHUTTING_DOWN, "The engine is stopping")

    def _answering(self, exchange: Exchange, request: Request | None) -> Answering:
        return Answering(exchange, self._banner, request, clock=self._clock)

    def _serve_simple(
        self, head: Head, path: str, parameters: Mapping[str, str], exchange: Exchange
    ) -> bool:
        """Answer what needs no engine; False when the request is for a statement."""
        if head.method == "OPTIONS":
            _plain(exchange, 204, "", head, cors=True)
        elif head.method not in {"GET", "HEAD", "POST", "PUT"}:
            _plain(exchange, 501, "Method is not supported.\n", head)
        elif path in {"/ping", "/replicas_status"}:
            _plain(exchange, 200, "Ok.\n", head)
        elif path not in {"", "/", "/query"}:
            _plain(exchange, 404, _HELP, head)
        elif (
            head.method in {"GET", "HEAD"}
            and "query" not in parameters
            and ("content-length" not in head.headers and "transfer-encoding" not in head.headers)
        ):
            _plain(exchange, 200, "Ok.\n", head)
        else:
            return False
        return True

    def _serve_statement(
        self, head: Head, parameters: Mapping[str, str], exchange: Exchange
    ) -> None:
        request: Request | None = None
        try:
            self._credentials.check(head, parameters)
            self._require_running()
            _require_length(head)
            request = build_request(head, parameters, fresh_id=random_uuid())
            with self._admission.admitted(yielding=yields(request.settings)):
                job = _read_job(head, parameters, request, exchange)
                request = job.request
                answering = self._answering(exchange, request)
                self._runner.run(job, exchange, answering)
            answering.finish()
        except Stopped:
            raise
        except EngineError as error:
            self._answering(exchange, request).fail(error)
        except Exception as error:  # noqa: BLE001 a bug answers one request, not with silence
            _log.exception("engine_request_bug")
            hidden = EngineError(Codes.UNKNOWN, f"{type(error).__name__} in the engine")
            self._answering(exchange, request).fail(hidden)


def _read_job(
    head: Head, parameters: Mapping[str, str], request: Request, exchange: Exchange
) -> Job:
    content_type = head.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/"):
        return Job(request=request, uploads=[], body_is_form=False)
    form = read_form(content_type, exchange.pieces())
    merged = {**parameters, **form.fields}
    complete = build_request(head, merged, fresh_id=request.query_id)
    return Job(request=complete, uploads=form.uploads, body_is_form=True)


def _require_length(head: Head) -> None:
    if head.method in {"POST", "PUT"} and not (
        "content-length" in head.headers or "transfer-encoding" in head.headers
    ):
        raise EngineError(
            Codes.HTTP_LENGTH_REQUIRED,
            "The Transfer-Encoding is not chunked and there is no Content-Length header for POST",
        )


def _plain(exchange: Exchange, status: int, text: str, head: Head, *, cors: bool = False) -> None:
    body = text.encode()
    headers = [
        ("Connection", "Keep-Alive"),
        ("Content-Type", "text/html; charset=UTF-8"),
        ("X-ClickHouse-Summary", "{}"),
    ]
    if status != 204:  # noqa: PLR2004 No Content has no length
        headers.append(("Content-Length", str(len(body))))
    if cors:
        headers += [
            ("Access-Control-Allow-Methods", _ALLOWED_METHODS),
            ("Allow", _ALLOWED_METHODS),
            ("Access-Control-Max-Age", "86400"),
        ]
    exchange.start(status, headers)
    if head.method != "HEAD":
        exchange.send(body)
    exchange.end()


def _read_password(path: Path) -> str:
    try:
        password = path.read_text().strip()
    except OSError as error:
        raise MisconfiguredError(
            "SECRET_UNREADABLE",
            f"cannot read {path}: {os.strerror(error.errno or 0)}",
            hint="let the supervisor make the secret or give a readable file",
        ) from error
    if not password:
        raise MisconfiguredError(
            "SECRET_EMPTY", f"{path} is empty", hint="an engine without a password is refused"
        )
    return password


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=_BACKLOG, reuse_port=False)
    except OSError as error:
        raise UnmetError(
            "PORT_UNAVAILABLE",
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}",
            hint="stop the other program or choose another clickhouse.port",
        ) from error


def serve(options: EngineOptions, *, on_ready: Callable[[], None] | None = None) -> None:
    """Run the engine until SIGTERM or SIGINT; returns when chDB is closed.

    Raises ConflictError naming the holder when the data directory is in use, UnmetError for a taken
    port, MisconfiguredError for a bad password file or folder.
    """
    clock = SystemClock()
    started = clock.monotonic_seconds()
    wake, alarm = socket.socketpair()
    alarm.settimeout(0)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        alarm.send(b"x")

    server = EngineServer(options, clock=clock)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _log.info(
        "engine_ready",
        port=server.port,
        version=server.version,
        seconds=round(clock.monotonic_seconds() - started, 3),
    )
    announce_ready(port=server.port)
    if on_ready is not None:
        on_ready()
    server.accept_until(wake)
    _log.info("engine_stopping")
    server.stop()
    _log.info("engine_stopped")
