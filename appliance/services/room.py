"""Whether there is disk left for another event.

Invariant: events are refused while there is still room for the engines to finish what was
acknowledged, to merge and to answer questions. A queue that meets the end of the disk switches
itself off, and PostgreSQL cannot even start there, so we stop before (decision 0015).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.disk import free_bytes
from appliance.base.errors import UnavailableError
from appliance.base.units import Bytes
from appliance.config.model import Settings

LOOK_SECONDS: Final = 0.2
"""How old the answer of the file system may be; asking costs microseconds, a request less."""
_SLACK: Final = 8
"""Taking events begins again an eighth above the reserve, so that it does not flutter."""

_LOG: Final = structlog.stdlib.get_logger()


class DiskState(Struct, frozen=True, kw_only=True):
    """What `/metrics` shows: bytes free, bytes kept in reserve, batches refused for lack of it."""

    free_bytes: int
    reserve_bytes: int
    refused: int


class Room:
    """Asks the disks of our own engines; one of them a process."""

    def __init__(self, folders: Sequence[Path], *, reserve_bytes: int, clock: Clock) -> None:
        self._folders = tuple(folders)
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._looked_at = float("-inf")
        self._free_bytes = 0
        self._full = False
        self._refused = 0

    def require(self) -> None:
        """Return when another event may be taken; raises UnavailableError when it may not."""
        self._look()
        if self._full:
            self._refused += 1
            raise UnavailableError(
                "UNAVAILABLE",
                "there is no disk space for more events at the moment",
                hint="free disk space; `pug-appliance doctor` says what takes it",
            )

    @property
    def state(self) -> DiskState:
        """The state as of now."""
        self._look()
        return DiskState(
            free_bytes=self._free_bytes,
            reserve_bytes=self._reserve_bytes,
            refused=self._refused,
        )

    def _look(self) -> None:
        now = self._clock.monotonic_seconds()
        if now - self._looked_at < LOOK_SECONDS or not self._folders:
            return
        self._looked_at = now
        self._free_bytes = free_bytes(self._folders)
        needed = self._reserve_bytes
        if self._full:
            needed += needed // _SLACK
        full = self._free_bytes < needed
        if full != self._full:
            self._full = full
            write = _LOG.warning if full else _LOG.info
            event = "ingest_refused_disk_full" if full else "ingest_resumed_disk_free"
            write(event, free=str(Bytes(self._free_bytes)), reserve=str(Bytes(self._reserve_bytes)))


def make_room(settings: Settings, clock: Clock) -> Room:
    """The room of an installation; stores of somebody else look after their own disks."""
    folders = settings.folders
    ours = (
        (settings.nats.url, folders.nats),
        (settings.clickhouse.url, folders.clickhouse),
        (settings.postgres.url, folders.postgres),
    )
    return Room(
        [folder for url, folder in ours if url is None],
        reserve_bytes=int(settings.disk.reserve),
        clock=clock,
    )
