"""One statement from its request to its answer.

Invariant: whatever happens, the statement has ended in the engine, its slot is free and its
connection is closed (or its session given back) before the next request of this client is read.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.clickhouse_http.answer import Answering
from appliance.clickhouse_http.engine import (
    MARK_SETTING,
    OWN_STATEMENT,
    Answer,
    Connection,
    Engine,
    quote,
    quote_name,
)
from appliance.clickhouse_http.errors import Codes, EngineError, Stopped
from appliance.clickhouse_http.external import Upload, create_tables, drop_tables, own_settings
from appliance.clickhouse_http.feed import Feed, insert_rows
from appliance.clickhouse_http.formats import DEFAULT_FORMAT
from appliance.clickhouse_http.intake import decoded, read_statement
from appliance.clickhouse_http.kept import KeptConnections, KeptSettings
from appliance.clickhouse_http.limits import yielding_settings, yields
from appliance.clickhouse_http.native import (
    BLOCK_INFO,
    BLOCK_INFO_VERSION_MIN,
    Column,
    split_blocks,
)
from appliance.clickhouse_http.produce import Production, Question
from appliance.clickhouse_http.registry import Registry, Running
from appliance.clickhouse_http.request import Request
from appliance.clickhouse_http.rewrite import rewrite_ids, rewrite_show_create, split_kill
from appliance.clickhouse_http.session import Session, Sessions
from appliance.clickhouse_http.statement import Kind, Plan, scan
from appliance.clickhouse_http.threads import StatementThreads
from appliance.clickhouse_http.wire import Exchange

_READING: Final = frozenset(
    {
        "SELECT",
        "WITH",
        "FROM",
        "(",
        "SHOW",
        "DESCRIBE",
        "DESC",
        "EXPLAIN",
        "EXISTS",
        "CHECK",
        "USE",
        "SET",
    }
)
_TELLING: Final = frozenset({"KILL", "BACKUP", "RESTORE", "OPTIMIZE"})
"""Statements that are no queries but have a result, be it empty."""
_MARKED: Final = (
    f"SELECT Settings['{MARK_SETTING}'] FROM system.processes WHERE " + "{condition}"  # noqa: S608 the client's own condition
)
_CHANGED: Final = "SELECT name, value FROM system.settings WHERE changed AND name IN ({names})"
_NOT_KEPT: Final = frozenset({"readonly", "dialect"})
"""Settings after which a connection does not understand or allow what prepares it again."""
_DEADLINE_SETTING: Final = "max_execution_time"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A request together with what its form brought."""

    request: Request
    uploads: list[Upload]
    body_is_form: bool


class Runner:
    """Carries statements out on one engine."""

    def __init__(
        self,
        *,
        engine: Engine,
        sessions: Sessions,
        registry: Registry,
        clock: Clock,
        defaults: dict[str, str],
        memory_bytes_max: int,
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._registry = registry
        self._clock = clock
        self._defaults = defaults
        self._memory_bytes_max = memory_bytes_max
        self._cores = len(os.sched_getaffinity(0))
        self._threads = StatementThreads()
        self._kept = KeptConnections()

    def close(self) -> None:
        """Close the connections that no statement uses."""
        self._kept.close_all()

    def run(self, job: Job, exchange: Exchange, answering: Answering) -> None:
        """Run a request's statement and send its answer but for the end; raises EngineError."""
        request = job.request
        pieces = iter(()) if job.body_is_form else decoded(request, exchange)
        plan, rows = read_statement(request, pieces)
        if request.readonly and plan.verb not in _READING:
            raise EngineError(
                Codes.READONLY,
                "Cannot execute query in readonly mode. For queries over HTTP, method GET implies "
                "readonly. You should use method POST for modifying queries",
            )
        takes_rows = plan.kind is Kind.INSERT or plan.input_span is not None
        running = self._registry.enter(
            request.query_id, exchange.interrupt if takes_rows else _nothing
        )
        try:
            with self._connected(job, plan) as connection:
                if plan.kind is Kind.INSERT:
                    self._insert(connection, plan, rows, job, running, answering)
                elif plan.kind is Kind.ANSWER:
                    self._answer(connection, plan, job, answering)
                else:
                    self._command(connection, plan, rows, job, answering)
        except Stopped:
            running.check()
            raise
        finally:
            self._registry.leave(running)

    def _answer(self, connection: Connection, plan: Plan, job: Job, answering: Answering) -> None:
        request = job.request
        output = plan.format or request.default_format or DEFAULT_FORMAT
        shown = rewrite_show_create(plan.text) if plan.verb == "SHOW" else None
        plan = msgspec.structs.replace(
            plan, text=shown or rewrite_ids(plan.text), streamed=plan.streamed or bool(shown)
        )
        question = Question(
            plan=plan,
            output=output,
            parameters=request.parameters,
            protocol_version=request.protocol_version,
        )
        columns: list[Column] | None = None
        if connection.temporary_tables and question.native_blocks:
            # Only this connection sees its temporary tables, and a stream will occupy it.
            columns = _describe(connection, plan, request)
        production = Production(
            connection,
            question,
            lambda: self._describe_apart(plan, job) if columns is None else columns,
            self._threads,
        )
        ended = False
        try:
            answering.stream(
                production, output=output, watch=lambda: self._engine.kill(request.query_id)
            )
            ended = True
        finally:
            if not ended:
                self._engine.kill(request.query_id)
            production.wait()

    def _describe_apart(self, plan: Plan, job: Job) -> list[Column]:
        """Names and types of a result, asked on a connection of its own."""
        request = job.request
        connection = self._engine.connect()
        try:
            _use_database(connection, request.database)
            connection.set_values(own_settings(job.uploads, self._settings(request)))
            return _describe(connection, plan, request)
        finally:
            connection.close()

    def _command(
        self,
        connection: Connection,
        plan: Plan,
        rows: Iterator[bytes],
        job: Job,
        answering: Answering,
    ) -> None:
        request = job.request
        output = plan.format or request.default_format or DEFAULT_FORMAT
        text = plan.text
        if plan.kills:
            text = rewrite_ids(text)
            self._condemn(connection, text)
        raw = text.encode("latin-1") + (b"\n" + plan.tail.encode("latin-1") if plan.tail else b"")
        if plan.input_span is not None:
            answer = self._insert_from_input(connection, plan, rows, request)
        else:
            answer = connection.run(raw, output=output, params=request.parameters)
        if plan.verb == "CREATE" and request.session_id:
            connection.temporary_tables = connection.temporary_tables or _temporary(plan)
        body = answer.body
        if request.protocol_version >= BLOCK_INFO_VERSION_MIN and output.lower() == "native":
            body = b"".join(BLOCK_INFO + block for block in split_blocks(body))
        shown = output if body or plan.verb in _TELLING else ""
        answering.whole(body, output=shown, usage=answer.usage)

    def _insert_from_input(
        self, connection: Connection, plan: Plan, rows: Iterator[bytes], request: Request
    ) -> Answer:
        """INSERT … SELECT … FROM input(…): the body becomes a file that can be read once."""
        connection.set_values({"storage_file_read_method": "read"})
        feed = Feed(rows, lambda: self._engine.kill(request.query_id))
        rows_format = plan.format or request.default_format or "Values"
        assert plan.input_span is not None
        start, end = plan.input_span
        source = f"file('/proc/self/fd/{feed.descriptor}', {quote(rows_format)}, "
        text = plan.text[:start] + source + plan.text[end:]
        return feed.run(lambda: connection.run(text.encode("latin-1"), params=request.parameters))

    def _condemn(self, connection: Connection, text: str) -> None:
        condition = split_kill(text)
        if condition is None:
            return
        found = connection.run(
            _MARKED.format(condition=condition).encode("latin-1"), output="TSVRaw"
        )
        for name in found.body.decode().splitlines():
            running = self._registry.find(name)
            if running is not None:
                running.condemn()

    def _insert(
        self,
        connection: Connection,
        plan: Plan,
        rows: Iterator[bytes],
        job: Job,
        running: Running,
        answering: Answering,
    ) -> None:
        request = job.request
        rows_format = plan.format or request.default_format or "Values"
        for name, value in request.parameters.items():
            connection.run(f"SET {quote_name('param_' + name)} = {quote(value)}".encode())
        deadline = self._deadline(request)
        _refuse_own_deadline(plan)

        def watched() -> Iterator[bytes]:
            for piece in rows:
                running.check()
                self._check_deadline(deadline)
                yield piece
            running.check()

        answer = insert_rows(
            connection,
            plan.text,
            watched(),
            rows_format=rows_format,
            kill=lambda: self._engine.kill(request.query_id),
        )
        running.check()
        answering.whole(b"", output="", usage=answer.usage)

    def _deadline(self, request: Request) -> float | None:
        seconds = float(request.settings.get(_DEADLINE_SETTING, "0") or 0)
        return self._clock.monotonic_seconds() + seconds if seconds > 0 else None

    def _check_deadline(self, deadline: float | None) -> None:
        if deadline is not None and self._clock.monotonic_seconds() > deadline:
            raise EngineError(Codes.TIMEOUT_EXCEEDED, "Timeout exceeded while rows were read")

    def _settings(self, request: Request) -> dict[str, str]:
        given = {**self._defaults, **request.settings, MARK_SETTING: request.query_id}
        if not yields(given):
            return given
        return yielding_settings(given, memory_bytes_max=self._memory_bytes_max, cores=self._cores)

    @contextmanager
    def _connected(self, job: Job, plan: Plan) -> Generator[Connection]:
        request = job.request
        if request.session_id:
            with self._in_session(job, plan) as connection:
                yield connection
            return
        keeps = plan.streamed and not job.uploads and _NOT_KEPT.isdisjoint(request.settings)
        wanted = self._wanted(request) if keeps else None
        connection = self._taken(wanted, request) if wanted else None
        prepared = connection is not None
        connection = connection or self._engine.connect()
        fit = False
        try:
            if not prepared:
                self._prepare(connection, job, plan)
            yield connection
            fit = True
        finally:
            if fit and wanted:
                self._kept.keep(wanted, connection)
            else:
                connection.close()

    def _wanted(self, request: Request) -> KeptSettings:
        settings = self._settings(request)
        del settings[MARK_SETTING]
        return (("", request.database), *settings.items())

    def _taken(self, wanted: KeptSettings, request: Request) -> Connection | None:
        """A kept connection, ready for this request; None when a new one is needed."""
        connection = self._kept.take(wanted)
        if connection is None:
            return None
        try:
            _use_database(connection, request.database)
            connection.set_values({MARK_SETTING: request.query_id})
        except EngineError:
            # The database is gone, or its settings refuse this, as a small max_query_size does.
            connection.close()
            return None
        return connection

    def _prepare(self, connection: Connection, job: Job, plan: Plan) -> None:
        request = job.request
        _use_database(connection, request.database)
        settings = own_settings(job.uploads, self._settings(request))
        if plan.kind is Kind.INSERT:
            settings.pop(_DEADLINE_SETTING, None)
        readonly = settings.pop("readonly", None)
        connection.set_values(settings)
        create_tables(connection, job.uploads, request.settings)
        if readonly is not None and not request.session_id:
            connection.set_values({"readonly": readonly})

    @contextmanager
    def _in_session(self, job: Job, plan: Plan) -> Generator[Connection]:
        """Use a session's connection and leave it as its own statements made it."""
        request = job.request
        session = self._sessions.take(request.session_id, must_exist=request.session_must_exist)
        before: dict[str, str | None] = {}
        try:
            before = _remember(session, own_settings(job.uploads, request.settings))
            self._prepare(session.connection, job, plan)
            yield session.connection
            session.customised = session.customised or plan.verb == "SET"
            if plan.verb == "USE":
                answer = session.connection.run(b"SELECT currentDatabase() FORMAT TSVRaw")
                session.database = answer.body.decode().rstrip("\n")
        finally:
            try:
                _restore(session, before, job)
            finally:
                self._sessions.give_back(
                    session, seconds=request.session_seconds, close=request.session_ends
                )


def _use_database(connection: Connection, name: str) -> None:
    if name:
        connection.run(f"USE {quote_name(name)}".encode())


def _describe(connection: Connection, plan: Plan, request: Request) -> list[Column]:
    """Names and types of a result; none when the statement cannot be described."""
    try:
        answer = connection.run(
            f"{OWN_STATEMENT} DESCRIBE (\n{plan.text}\n)".encode("latin-1"),
            output="JSONCompactEachRow",
            params=request.parameters,
        )
    except EngineError:
        return []
    rows = [msgspec.json.decode(line, type=list[str]) for line in answer.body.splitlines()]
    return [Column(name=row[0].encode(), type=row[1].encode()) for row in rows]


def _remember(session: Session, settings: dict[str, str]) -> dict[str, str | None]:
    """The values a session has for these settings; None stands for the default."""
    if not session.customised or not settings:
        return dict.fromkeys(settings)
    names = ", ".join(quote(name) for name in settings)
    answer = session.connection.run(
        _CHANGED.format(names=names).encode(), output="JSONCompactEachRow"
    )
    rows = (msgspec.json.decode(line, type=tuple[str, str]) for line in answer.body.splitlines())
    changed = dict(rows)
    return {name: changed.get(name) for name in settings}


def _restore(session: Session, before: dict[str, str | None], job: Job) -> None:
    connection = session.connection
    drop_tables(connection, job.uploads)
    values = ", ".join(
        f"{quote_name(name)} = {'DEFAULT' if value is None else quote(value)}"
        for name, value in before.items()
        if name != "readonly"
    )
    if values:
        try:
            connection.run(f"{OWN_STATEMENT} SET {values}".encode())
        except EngineError as error:
            if error.code != Codes.UNKNOWN_SETTING:
                raise
    if job.request.database and job.request.database != session.database:
        _use_database(connection, session.database)


def _temporary(plan: Plan) -> bool:
    return any(token.upper == "TEMPORARY" for token in scan(plan.text)[:4])


def _nothing() -> None:
    """A statement without rows needs no waking: the kill itself ends it."""


def _refuse_own_deadline(plan: Plan) -> None:
    """Only our own deadline is safe: chDB ends an insert that is out of time without an error."""
    if any(token.text == _DEADLINE_SETTING for token in scan(plan.text)):
        raise EngineError(
            Codes.NOT_IMPLEMENTED,
            f"Give {_DEADLINE_SETTING} of an INSERT as a parameter of the request",
        )
