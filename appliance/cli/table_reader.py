"""Starts the process that reads a Parquet file, and hands on what it says.

Invariant: the process ends with the block, however that ends, and with this process. Its failure is
told when its rows are over, so a damaged file never looks like a short one.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

from appliance.base.errors import InvalidInputError
from appliance.base.tasks import finish
from appliance.cli.main import PROGRAM
from appliance.supervisor.child import Child
from appliance.supervisor.environment import self_argv
from appliance.supervisor.spec import Descriptor, ProcessSpec

_SAID_BYTES_MAX: Final = 8 << 10
_END_SECONDS_MAX: Final = 30.0
_VARIABLE: Final = "PUG_TABLE_FD"


class _Said:
    """What the process printed, bounded."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.content = bytearray()

    def feed(self, chunk: bytes) -> None:
        self.content += chunk[: _SAID_BYTES_MAX - len(self.content)]

    def close(self) -> None:
        pass


class TableRows:
    """The rows of a file as JSON lines, behind a first line that describes them."""

    def __init__(self, content: BinaryIO, child: Child, said: _Said) -> None:
        self.content = content
        self._child = child
        self._said = said

    async def require_end(self) -> None:
        """Return when the file was read to its end; raises InvalidInputError when it was not."""
        async with asyncio.timeout(_END_SECONDS_MAX):
            status = await asyncio.shield(self._child.exited)
        if status != 0:
            said = self._said.content.decode("utf-8", "replace").strip().splitlines()
            told = said[-1] if said else "the file cannot be read as Parquet"
            raise InvalidInputError("FILE_DAMAGED", told.removeprefix(f"{PROGRAM}: "))


@asynccontextmanager
async def open_table(path: Path, *, skip: int) -> AsyncGenerator[TableRows]:
    """The rows of a Parquet file behind the first `skip` ones, read by our engine."""
    assert path.is_absolute(), "the process has a working directory of its own"
    reading, writing = os.pipe2(os.O_CLOEXEC)
    said = _Said()
    words = ("clickhouse", "read-table", str(path))
    try:
        spec = ProcessSpec(
            name="table",
            argv=self_argv(*words, "--skip", str(skip), "--descriptor", str(writing)),
            descriptors=(Descriptor(variable=_VARIABLE, number=writing),),
            own=True,
        )
        child = Child(spec, sink=said, inherited={})
    finally:
        os.close(writing)
    content = os.fdopen(reading, "rb", buffering=1 << 20)
    try:
        yield TableRows(content, child, said)
    finally:
        # the process first: a thread that waits for its rows keeps the file from being closed
        if not child.exited.done():
            child.kill_group()
        await finish(_reaped(child), timeout_seconds=_END_SECONDS_MAX)
        content.close()


async def _reaped(child: Child) -> None:
    await asyncio.shield(child.exited)
