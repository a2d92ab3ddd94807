"""Whether the queue may take another event.

Invariant: events are refused while the queue has room left for everything else: the record of the
events worker, dead letters, persons, erasures and mails. A full server would refuse those too, and
then nothing that waits could be worked off. What waits grows only as far as half of the queue's
disk, or as far as the operator says; a look at it costs no request anything (decision 0015 is about
the disk itself).
"""

from math import inf
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.disk import free_bytes
from appliance.base.errors import ApplianceError, UnavailableError
from appliance.base.tasks import Background
from appliance.base.units import Bytes
from appliance.config.model import Settings
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.errors import QUEUE_FULL
from appliance.storage.streams.publish import EVENTS_STREAM
from appliance.storage.streams.queues import StreamSize, load_stream_size

LOOK_SECONDS: Final = 0.5
RETRY_SECONDS: Final = 5.0
"""When whoever was refused may come again: something was worked off by then."""
CLOSE_SECONDS_MAX: Final = 1.0
_STORE_BYTES_MIN: Final = 8 << 30
_STORE_BYTES_MAX: Final = 256 << 30
_FREE_SHARE: Final = 4
_EVENTS_SHARE: Final = 2
_HEADROOM_BYTES_MAX: Final = 64 << 20
_HEADROOM_SHARE: Final = 8
"""What comes between two looks must fit above the mark at which refusing begins."""

_LOG: Final = structlog.stdlib.get_logger()


class QueueRoom:
    """Looks at the stream of events now and then, while events come; one of them a process."""

    def __init__(self, streams: Streams, settings: Settings, clock: Clock) -> None:
        self._streams = streams
        self._settings = settings
        self._clock = clock
        self._background = Background(tasks_max=1)
        self._looked_at = -inf
        self._full = False
        self.bytes = 0
        self.bytes_max: int | None = None

    def require(self) -> None:
        """Return when another event may be queued; raises UnavailableError when it may not."""
        now = self._clock.monotonic_seconds()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._background.start(self.look)
        if self._full:
            raise _queue_full()

    def note_full(self) -> None:
        """The queue itself has refused a message: refuse until the next look."""
        self._set_full(full=True)
        self._looked_at = self._clock.monotonic_seconds()

    async def settle(self) -> None:
        """Wait for a look that is under way."""
        await self._background.settle()

    async def close(self) -> None:
        """End a look that is under way."""
        await self._background.close(timeout_seconds=CLOSE_SECONDS_MAX)

    async def look(self) -> None:
        """See how full the queue is; without an answer everything stays as it was."""
        try:
            size = await load_stream_size(self._streams, EVENTS_STREAM)
        except ApplianceError as error:
            _LOG.debug("queue_size_unseen", reason=error.reason)
            return
        self.bytes = size.bytes
        self.bytes_max = limit = self._limit(size)
        if limit is None:
            self._set_full(full=False)
            return
        headroom = min(_HEADROOM_BYTES_MAX, limit // _HEADROOM_SHARE)
        mark = limit - headroom * (2 if self._full else 1)
        self._set_full(full=size.bytes >= mark)

    def _set_full(self, *, full: bool) -> None:
        if full == self._full:
            return
        self._full = full
        write = _LOG.warning if full else _LOG.info
        limit = str(Bytes(self.bytes_max)) if self.bytes_max is not None else None
        event = "ingest_refused_queue_full" if full else "ingest_resumed_queue"
        write(event, queued=str(Bytes(self.bytes)), limit=limit)

    def _limit(self, size: StreamSize) -> int | None:
        """How large the stream of events may get, by what is known about its server."""
        nats = self._settings.nats
        known = [one for one in (nats.events_bytes_max, size.bytes_max) if one is not None]
        if known:
            return min(known)
        if nats.url is None:
            store = nats.store_bytes_max or self._own_store(size.bytes)
            return store // _EVENTS_SHARE
        if size.account_bytes_max is not None:
            return size.account_bytes_max // _EVENTS_SHARE
        return None

    def _own_store(self, used: int) -> int:
        """About what our server allows itself, see `engines/nats.py`, which we cannot ask."""
        share = (free_bytes([self._settings.folders.nats]) + used) // _FREE_SHARE
        return max(_STORE_BYTES_MIN, min(_STORE_BYTES_MAX, share))


def _queue_full() -> UnavailableError:
    return UnavailableError(
        QUEUE_FULL,
        "too many events wait to be stored; send the same again later",
        hint="see `pug-appliance status` and the log of the events worker",
        retry_seconds=RETRY_SECONDS,
    )
