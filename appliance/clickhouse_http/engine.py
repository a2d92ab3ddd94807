"""The one door to chDB: connections, streams, inserts, and the end of a query.

Invariant: one process owns one data directory, proven by a lock, and every chDB call of the room
goes through this module. Facts about chDB that shape it (measured on chdb-core 26.9.0): a
connection costs 0.25 ms, so each request has its own (`kept.py`); cancelling a stream waits for the
query, so queries are ended by KILL QUERY from another connection; an insert stream ends *without*
an error whatever happened to its rows, so none is used (`feed.py`).
"""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol, cast

import msgspec
from chdb import _chdb

from appliance.base.files import FileLock, ensure_folder, write_atomic
from appliance.clickhouse_http.configuration import PROFILE, PROFILE_NAME
from appliance.clickhouse_http.errors import EngineError, parse_engine_error

LOCK_NAME: Final = "engine.lock"
MARK_SETTING: Final = "promql_table"
"""A text setting without effect outside the PromQL dialect; it carries the query id of the client,
because chDB gives every query an id of its own. `system.processes` and the query log show it."""


OWN_STATEMENT: Final = "/* engine */"
"""Begins every statement that no client asked for, so that the query log can leave it out."""


class _Result(Protocol):
    def bytes(self) -> bytes: ...
    def rows_read(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def storage_bytes_read(self) -> int: ...
    def rows_written(self) -> int: ...
    def bytes_written(self) -> int: ...
    def elapsed(self) -> float: ...
    def has_error(self) -> bool: ...
    def error_message(self) -> str: ...


class _Handle(Protocol):
    def query(self, text: bytes, output: str, *, params: dict[str, str]) -> _Result: ...
    def send_query(self, text: bytes, output: str, *, params: dict[str, str]) -> object: ...
    def streaming_fetch_result(self, stream: object) -> _Result | None: ...
    def streaming_cancel_query(self, stream: object) -> None: ...
    def close(self) -> None: ...


class _Module(Protocol):
    """The part of chDB's extension module that is used; its stub leaves it out."""

    def connect(self, target: str) -> _Handle: ...


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished statement read and wrote."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_seconds: float = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The whole output of a small statement."""

    body: bytes
    usage: Usage


def quote(value: str) -> str:
    """`value` as a string literal of the engine."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """`name` as a quoted identifier of the engine."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Connection:
    """One chDB connection: one statement at a time, its own settings and temporary tables."""

    def __init__(self, handle: _Handle) -> None:
        self._handle = handle
        self.temporary_tables = False

    def run(
        self, text: bytes, *, output: str = "TabSeparated", params: Mapping[str, str] | None = None
    ) -> Answer:
        """Run a statement to its end and return its whole output; raises EngineError."""
        try:
            result = self._handle.query(text, output, params=dict(params or {}))
        except RuntimeError as error:
            raise parse_engine_error(str(error)) from error
        return Answer(body=result.bytes(), usage=_usage(result))

    def set_values(self, values: Mapping[str, str]) -> None:
        """Change settings of this connection; raises EngineError for unknown ones."""
        if values:
            pairs = ", ".join(
                f"{quote_name(name)} = {quote(value)}" for name, value in values.items()
            )
            self.run(f"{OWN_STATEMENT} SET {pairs}".encode())

    def blocks(
        self, text: bytes, *, output: str, params: Mapping[str, str]
    ) -> Iterator[tuple[bytes, Usage]]:
        """The output of a SELECT, one complete encoding per block; raises EngineError."""
        try:
            stream = self._handle.send_query(text, output, params=dict(params))
            while (result := self._handle.streaming_fetch_result(stream)) is not None:
                block = result.bytes()
                if not block:
                    break
                yield block, _usage(result)
        except RuntimeError as error:
            raise parse_engine_error(str(error)) from error

    def close(self) -> None:
        """Give the connection back; its temporary tables and settings are gone."""
        self._handle.close()


class Engine:
    """chDB on one data directory; `version` and `timezone` are what clients are told."""

    def __init__(self, *, data_dir: Path, config: str) -> None:
        """Take the lock, write the configuration and open the data directory.

        Raises ConflictError naming the holder's pid when another engine has the directory, and
        EngineError when chDB cannot open it.
        """
        ensure_folder(data_dir)
        self._lock = FileLock(data_dir / LOCK_NAME)
        self._lock.acquire()
        self._path = str(data_dir / "store")
        ensure_folder(data_dir / "store")
        config_path = data_dir / "engine.xml"
        write_atomic(config_path, config.encode())
        write_atomic(data_dir / PROFILE_NAME, PROFILE.encode())
        self._control_lock = threading.Lock()
        try:
            self._control = Connection(_open(f"{self._path}?config-file={config_path}"))
        except RuntimeError as error:
            self._lock.release()
            raise parse_engine_error(str(error)) from error
        facts = self._control.run(b"SELECT version(), timezone(), hostName()").body.decode()
        self.version, self.timezone, self.host = facts.rstrip("\n").split("\t")

    def connect(self) -> Connection:
        """A fresh connection; raises EngineError."""
        try:
            return Connection(_open(f"{self._path}?log_queries=0"))
        except RuntimeError as error:
            raise parse_engine_error(str(error)) from error

    def kill(self, mark: str) -> bool:
        """Ask the query that carries `mark` to end; tells at once whether there was one."""
        condition = f"Settings['{MARK_SETTING}'] = {quote(mark)}"
        with self._control_lock:
            found = self._control.run(f"KILL QUERY WHERE {condition} ASYNC".encode())
        return bool(found.body)

    def close(self) -> None:
        """Close chDB and let another engine have the directory."""
        with self._control_lock:
            self._control.close()
        self._lock.release()


def open_memory() -> Connection:
    """A connection of an engine without a data directory, for reading files; raises EngineError.

    A process has either this or an `Engine`, never both.
    """
    try:
        return Connection(_open(":memory:"))
    except RuntimeError as error:
        raise parse_engine_error(str(error)) from error


def _open(target: str) -> _Handle:
    return cast("_Module", _chdb).connect(target)


def _usage(result: _Result) -> Usage:
    return Usage(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed_seconds=result.elapsed(),
    )


__all__ = ["Answer", "Connection", "Engine", "EngineError", "Usage", "quote"]
