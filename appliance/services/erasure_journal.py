"""Erasures outside the stores: what must be erased again when the stores come back older.

Invariant: a line is on the disk before what it says counts as done. Going back to a restore point
or a backup brings erased people back; this folder is in neither and stays, so the worker compares
it with the ledger when it starts (decision 0024). A line that a power cut tore is passed over.
"""

import asyncio
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from appliance.base.files import PRIVATE_FILE, ensure_folder, flush_folder, unwritable
from appliance.domain.people.erasure import unite_ids

_SUFFIX: Final = ".jsonl"


class JournalEntry(Struct, frozen=True, kw_only=True):
    """One erasure at one moment: when its ids were frozen, or when it was completed."""

    at: datetime
    request_id: str
    project_id: str
    profile_id: str
    external_id: str
    distinct_ids: tuple[str, ...]
    events: int
    requested_at: datetime
    completed: bool


class ErasureJournal:
    """A file a month in one folder; written by the compliance worker only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = asyncio.Lock()

    async def append(self, entry: JournalEntry) -> None:
        """Put an entry on the disk; raises MisconfiguredError naming the path when it cannot."""
        async with self._lock:
            await asyncio.to_thread(self._append, entry)

    async def entries(self) -> tuple[JournalEntry, ...]:
        """One entry for each request, the newest with all ids of the others."""
        return await asyncio.to_thread(self._entries)

    def _append(self, entry: JournalEntry) -> None:
        path = self._folder / f"{entry.at:%Y-%m}{_SUFFIX}"
        try:
            fresh = not path.exists()
            ensure_folder(self._folder)
            descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE
            )
            try:
                os.fchmod(descriptor, PRIVATE_FILE)
                size = os.fstat(descriptor).st_size
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                line = (b"\n" if torn else b"") + msgspec.json.encode(entry) + b"\n"
                written = os.write(descriptor, line)
                while written < len(line):
                    written += os.write(descriptor, line[written:])
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if fresh:
                flush_folder(self._folder)
        except OSError as error:
            raise unwritable(path, error) from error

    def _entries(self) -> tuple[JournalEntry, ...]:
        merged: dict[str, JournalEntry] = {}
        for entry in self._lines():
            known = merged.get(entry.request_id)
            if known is not None:
                ids = unite_ids(known.distinct_ids, entry.distinct_ids)
                entry = msgspec.structs.replace(entry, distinct_ids=ids)  # noqa: PLW2901 the same entry with more
            merged[entry.request_id] = entry
        return tuple(merged.values())

    def _lines(self) -> Iterable[JournalEntry]:
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            for line in path.read_bytes().splitlines():
                try:
                    yield msgspec.json.decode(line, type=JournalEntry)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
