"""Lets a statement write its answer into a pipe while another thread sends it on.

Invariant: the engine is never more than one pipe ahead of the client, so a large result needs no
memory; the producer always ends, because whoever stops reading also kills the query.
"""

import fcntl
import os
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from appliance.clickhouse_http.engine import Connection, Usage
from appliance.clickhouse_http.errors import Codes, EngineError
from appliance.clickhouse_http.native import (
    BLOCK_INFO,
    BLOCK_INFO_VERSION_MIN,
    TIME_ZONE_VERSION_MIN,
    Column,
    needs_zones,
    restore_zones,
    split_blocks,
)
from appliance.clickhouse_http.statement import Plan
from appliance.clickhouse_http.threads import StatementThreads

PIPE_BYTES: Final = 1 << 20


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A statement ready to run, and how its answer must look."""

    plan: Plan
    output: str
    parameters: Mapping[str, str]
    protocol_version: int

    @property
    def native_blocks(self) -> bool:
        """Whether the client expects Native as for its protocol version."""
        return self.protocol_version >= BLOCK_INFO_VERSION_MIN and self.output.lower() == "native"


class Production:
    """A statement that runs in a thread of its own; read `descriptor` until it ends."""

    def __init__(
        self,
        connection: Connection,
        question: Question,
        describe: Callable[[], list[Column]],
        threads: StatementThreads,
    ) -> None:
        self.descriptor, self._sink = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self._sink, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._connection = connection
        self._question = question
        self._describe = describe
        self._columns: list[Column] | None = None
        self.usage = Usage()
        self.error: EngineError | None = None
        self._ended = threads.start(self._run)

    def wait(self) -> None:
        """Stop reading and wait until the statement has ended."""
        self._close_reader()
        self._ended.wait()

    def _close_reader(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _run(self) -> bool:
        """Run the statement; tells whether it ended well."""
        try:
            if self._question.native_blocks:
                self._write_blocks()
            else:
                self._write_through()
        except EngineError as error:
            self.error = error
        except BrokenPipeError:
            self.error = EngineError(Codes.QUERY_WAS_CANCELLED, "The reader has left")
        except Exception as error:  # noqa: BLE001 a bug here must reach the client, not a thread
            self.error = EngineError(Codes.UNKNOWN, f"{type(error).__name__} in the engine")
        finally:
            os.close(self._sink)
        return self.error is None

    def _write_through(self) -> None:
        plan = self._question.plan
        target = f"INTO OUTFILE '/proc/self/fd/{self._sink}' APPEND FORMAT {self._question.output}"
        text = f"{plan.text}\n{target} {plan.tail}".encode("latin-1")
        self.usage = self._connection.run(text, params=self._question.parameters).usage

    def _write_blocks(self) -> None:
        plan = self._question.plan
        text = f"{plan.text}\n{plan.tail}".encode("latin-1")
        if not plan.streamed:
            answer = self._connection.run(text, output="Native", params=self._question.parameters)
            self.usage = answer.usage
            for block in split_blocks(answer.body):
                self._write(BLOCK_INFO + block)
            return
        total = Usage()
        for block, usage in self._connection.blocks(
            text, output="Native", params=self._question.parameters
        ):
            self._write(BLOCK_INFO + self._with_zones(block))
            total = Usage(
                read_rows=max(total.read_rows, usage.read_rows),
                read_bytes=max(total.read_bytes, usage.read_bytes),
                result_rows=total.result_rows + usage.result_rows,
                elapsed_seconds=max(total.elapsed_seconds, usage.elapsed_seconds),
            )
        self.usage = total

    def _with_zones(self, block: bytes) -> bytes:
        if self._question.protocol_version < TIME_ZONE_VERSION_MIN or not needs_zones(block):
            return block
        if self._columns is None:
            self._columns = self._describe()
        return restore_zones(block, self._columns)

    def _write(self, raw: bytes) -> None:
        view = memoryview(raw)
        while view:
            view = view[os.write(self._sink, view) :]
