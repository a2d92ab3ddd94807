"""Writes a project's events into a file that another appliance, or anybody, can read.

Invariant: the file has its name only when it is complete and on the disk, readable by its owner
alone; nothing of it is held in memory. An export is in the audit log before its first byte is
written, because whoever has a part of the file has people in it.
"""

import asyncio
import gzip
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import NotFoundError
from appliance.base.files import PRIVATE_FILE, flush_folder, unwritable
from appliance.domain.access.callers import Actor
from appliance.services.audit import AuditLog
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.event_export import (
    ExportFormat,
    ExportQuery,
    count_exported,
    stream_events,
)
from appliance.storage.postgres.pool import Postgres
from appliance.storage.postgres.projects import find_project

ANSWER_SECONDS_MAX: Final = 3600
"""How long the event store may look for the next event that a filter lets through."""
_WRITE_BYTES: Final = 1 << 20
_GZIP_LEVEL: Final = 6


class ExportOrder(Struct, frozen=True, kw_only=True):
    """What is written, and how; `packed` with gzip."""

    query: ExportQuery
    form: ExportFormat
    packed: bool = False


class ExportReport(Struct, frozen=True, kw_only=True):
    """What was written. `events` is what there was when it began; more may have come since."""

    events: int
    bytes: int
    file: str
    seconds: float


class _Target(Protocol):
    def write(self, piece: bytes, /) -> int: ...


class ExportService:
    """The use-case behind `export events`."""

    def __init__(
        self, database: Postgres, events: ClickHouse, audit: AuditLog, clock: Clock
    ) -> None:
        self._database = database
        self._events = events
        self._audit = audit
        self._clock = clock

    async def write_file(
        self,
        order: ExportOrder,
        path: Path,
        *,
        actor: Actor,
        told: Callable[[int, int], None],
    ) -> ExportReport:
        """Write the events into `path`, which appears when it is complete.

        `told` hears how many bytes are written, and how many events there will be. Raises
        NotFoundError for an unknown project, MisconfiguredError when the folder cannot be written,
        UnavailableError when the event store does not answer to the end.
        """
        started = self._clock.monotonic_seconds()
        events = await self._count(order)
        await self._record(order, actor, path.name)
        try:
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        except OSError as error:
            raise unwritable(path.parent, error) from error
        beside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), PRIVATE_FILE)
                await self._write(order, file, lambda written: told(written, events))
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
                written = file.tell()
            await asyncio.to_thread(_publish, beside, path)
        except OSError as error:
            raise unwritable(path, error) from error
        finally:
            _forget(beside)
        return self._report(events, written, str(path), started)

    async def write_stream(
        self, order: ExportOrder, stream: BinaryIO, *, actor: Actor
    ) -> ExportReport:
        """Write the events into an open stream; raises as `write_file` does."""
        started = self._clock.monotonic_seconds()
        events = await self._count(order)
        await self._record(order, actor, "-")
        written = await self._write(order, stream, lambda _written: None)
        await asyncio.to_thread(stream.flush)
        return self._report(events, written, "-", started)

    async def _count(self, order: ExportOrder) -> int:
        project_id = order.query.project_id
        if await find_project(self._database, project_id) is None:
            raise NotFoundError("PROJECT_NOT_FOUND", f"there is no project {project_id}")
        return await count_exported(self._events, order.query)

    async def _write(self, order: ExportOrder, file: BinaryIO, told: Callable[[int], None]) -> int:
        target: _Target = file
        packer: gzip.GzipFile | None = None
        if order.packed:
            # no time and no name in the head: equal events make equal files
            packer = gzip.GzipFile("", "wb", _GZIP_LEVEL, fileobj=file, mtime=0)
            target = packer
        written = 0
        async for piece in _large_pieces(stream_events(self._events, order.query, order.form)):
            await asyncio.to_thread(target.write, piece)
            written += len(piece)
            told(written)
        if packer is not None:
            await asyncio.to_thread(packer.close)
        return written

    async def _record(self, order: ExportOrder, actor: Actor, file: str) -> None:
        async with self._database.transaction() as transaction:
            await self._audit.record(
                transaction,
                actor,
                "project.events.export",
                project_id=order.query.project_id,
                details={"file": file, "format": order.form.value},
            )

    def _report(self, events: int, written: int, file: str, started: float) -> ExportReport:
        seconds = round(self._clock.monotonic_seconds() - started, 3)
        return ExportReport(events=events, bytes=written, file=file, seconds=seconds)


def _publish(beside: Path, path: Path) -> None:
    beside.replace(path)
    flush_folder(path.parent)


def _forget(beside: Path) -> None:
    with suppress(OSError):
        beside.unlink(missing_ok=True)


async def _large_pieces(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a write."""
    held = bytearray()
    async for piece in pieces:
        held += piece
        if len(held) >= _WRITE_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
