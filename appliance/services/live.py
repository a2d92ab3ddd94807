"""Events as they arrive, for whoever watches.

Invariant: one subscription to the queue a process, opened for the first watcher and closed after
the last; nobody who watches is ever waited for. How many watch, what waits for each of them and
how many events a second are told is bounded; the rest is counted and said. Rows are looked at only
when their project is watched, and told in words once for all who want them. Next:
`live_watcher.py`, the queue of one; `domain/live.py`, what is told; decision 0036.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, ExhaustedError, Quota, UnavailableError
from appliance.base.tasks import wait
from appliance.domain.live import LiveFilter, read_glance, tell_event
from appliance.services.live_watcher import Pace, Watcher
from appliance.storage.clickhouse.live_read import LiveReader
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.publish import EVENTS_STREAM, PROJECT_HEADER
from appliance.storage.streams.tail import StreamTail

WATCHERS_MAX: Final = 200
REQUESTS_SHARE: Final = 2
"""Streams take at most one of so many places that the server has for requests."""
PROJECT_WATCHERS_MAX: Final = 100
PROJECT_EVENTS_PER_SECOND_MAX: Final = 50
"""More than anybody reads; each costs 60 µs once, and its bytes for each watcher."""
PROJECT_EVENTS_BURST: Final = 200
EVENTS_PER_SECOND_MAX: Final = 200
EVENTS_BURST: Final = 400
VISITORS_SECONDS: Final = 5.0
"""How often people are counted; less often when counting takes more than a quarter of that."""
_COUNTING_SHARE: Final = 4
_FIRST_LISTEN_SECONDS_MAX: Final = 5.0
_LET_GO_SECONDS_MAX: Final = 2.0
_RETRY_SECONDS: Final = 10.0
SHUTTING_DOWN: Final = "SHUTTING_DOWN"
_TOLD: Final = ("live.events_told_total", "")
_DROPPED: Final = "live.events_dropped_total"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_LOG: Final = structlog.stdlib.get_logger()


class _Room:
    """Everybody who watches one project, by what they want to see."""

    def __init__(self) -> None:
        self.watchers: dict[LiveFilter, list[Watcher]] = {}
        self.pace = Pace(per_second=PROJECT_EVENTS_PER_SECOND_MAX, burst=PROJECT_EVENTS_BURST)
        self.visitors: bytes | None = None
        self.counted_at: float | None = None

    def everybody(self) -> list[Watcher]:
        return [watcher for group in self.watchers.values() for watcher in group]


class _Listening:
    """One subscription: its task, and whether it hears yet."""

    def __init__(self) -> None:
        self.hears = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class LiveService:
    """Hands out watchers; `counts` holds its counters by metric and label."""

    def __init__(
        self,
        streams: Streams,
        reader: LiveReader,
        clock: Clock,
        *,
        watchers_max: int = WATCHERS_MAX,
    ) -> None:
        self._watchers_max = min(watchers_max, WATCHERS_MAX)
        self._streams = streams
        self._reader = reader
        self._clock = clock
        self._rooms: dict[str, _Room] = {}
        self._watching = 0
        self._pace = Pace(per_second=EVENTS_PER_SECOND_MAX, burst=EVENTS_BURST)
        self._listening: _Listening | None = None
        self._hurry = asyncio.Event()
        self._closed = False
        self.counts: Counter[tuple[str, str]] = Counter()

    @property
    def watching(self) -> int:
        """How many watch now."""
        return self._watching

    @property
    def is_listening(self) -> bool:
        """Whether there is a subscription to the queue."""
        return self._listening is not None

    @asynccontextmanager
    async def watch(self, project_id: str, wanted: LiveFilter) -> AsyncGenerator[Watcher]:
        """A watcher that hears everything from now on, as long as the block.

        Raises ExhaustedError (`LIVE_WATCHERS_MAX`) when too many watch, UnavailableError when the
        queue does not answer or this process is about to end.
        """
        watcher = self._enter(project_id, wanted)
        try:
            await self._hear()
            yield watcher
        finally:
            self._leave(watcher)

    def end(self) -> None:
        """Let every stream end, and no new one begin: this process is about to stop."""
        self._closed = True
        for room in self._rooms.values():
            for watcher in room.everybody():
                watcher.end(SHUTTING_DOWN)

    async def close(self) -> None:
        """End what is left; before the connections are closed."""
        self.end()
        await self._stop_listening()

    def _enter(self, project_id: str, wanted: LiveFilter) -> Watcher:
        if self._closed:
            raise UnavailableError("UNAVAILABLE", "this server is about to stop")
        room = self._rooms.get(project_id)
        here = len(room.everybody()) if room is not None else 0
        if self._watching >= self._watchers_max or here >= PROJECT_WATCHERS_MAX:
            raise ExhaustedError(
                "LIVE_WATCHERS_MAX",
                "too many people watch at the moment",
                quota=Quota(
                    subject=f"project:{project_id}",
                    description=f"{PROJECT_WATCHERS_MAX} live views of a project at once",
                ),
                retry_seconds=_RETRY_SECONDS,
            )
        if room is None:
            room = self._rooms[project_id] = _Room()
            self._hurry.set()
        watcher = Watcher(project_id, wanted)
        room.watchers.setdefault(wanted, []).append(watcher)
        if room.visitors is not None:
            watcher.show(room.visitors)
        self._watching += 1
        return watcher

    def _leave(self, watcher: Watcher) -> None:
        room = self._rooms[watcher.project_id]
        group = room.watchers[watcher.wanted]
        group.remove(watcher)
        if not group:
            del room.watchers[watcher.wanted]
        if not room.watchers:
            del self._rooms[watcher.project_id]
        self._watching -= 1
        if not self._watching and self._listening is not None:
            listening, self._listening = self._listening, None
            if listening.task is not None:
                listening.task.cancel()

    async def _hear(self) -> None:
        """Return when the queue is heard; raises UnavailableError when it is not in time."""
        listening = self._listening
        if listening is None:
            listening = self._listening = _Listening()
            listening.task = asyncio.ensure_future(self._listen(listening))
            listening.task.add_done_callback(self._stopped)
        await wait(listening.hears, _FIRST_LISTEN_SECONDS_MAX)
        if not listening.hears.is_set():
            raise UnavailableError(
                "UNAVAILABLE",
                "the queue of events does not answer at the moment",
                hint="see `pug-appliance status` and the log of nats",
            )

    async def _listen(self, listening: _Listening) -> None:
        tail = StreamTail(
            self._streams,
            self._clock,
            stream=EVENTS_STREAM,
            heard=self._heard,
            broke=self._broke,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(tail.follow(listening.hears.set))
            group.create_task(self._count_people())

    def _stopped(self, task: "asyncio.Task[None]") -> None:
        """A subscription never ends by itself; one that does takes its watchers along."""
        if task.cancelled() or task.exception() is None:
            return
        _LOG.error("live_broke", exc_info=task.exception())
        if self._listening is not None and self._listening.task is task:
            self._listening = None
        for room in self._rooms.values():
            for watcher in room.everybody():
                watcher.end("INTERNAL")

    async def _stop_listening(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None and listening.task is not None:
            listening.task.cancel()
            await asyncio.wait({listening.task}, timeout=_LET_GO_SECONDS_MAX)

    def _broke(self) -> None:
        for room in self._rooms.values():
            for watcher in room.everybody():
                watcher.note_gap()

    def _heard(self, headers: Mapping[str, str], payload: bytes) -> None:
        room = self._rooms.get(headers.get(PROJECT_HEADER, ""))
        if room is None:
            return
        now = self._clock.monotonic_seconds()
        missed: Counter[LiveFilter] = Counter()
        for row in payload.split(b"\n"):
            if row:
                self._tell(room, row, now, missed)
        for wanted, events in missed.items():
            for watcher in room.watchers[wanted]:
                watcher.miss(events)
            self.counts[_DROPPED, "project_busy"] += events

    def _tell(self, room: _Room, row: bytes, now: float, missed: Counter[LiveFilter]) -> None:
        try:
            glance = read_glance(row)
            groups = [wanted for wanted in room.watchers if wanted.wants(glance)]
            if not groups:
                return
            if not (room.pace.has_room(now) and self._pace.has_room(now)):
                missed.update(groups)
                return
            told = tell_event(row)
        except (ValueError, AssertionError):  # the worker will say what is wrong with it
            self.counts[_DROPPED, "unreadable"] += 1
            return
        room.pace.spend()
        self._pace.spend()
        self.counts[_TOLD] += 1
        for wanted in groups:
            for watcher in room.watchers[wanted]:
                lost = watcher.offer(told)
                if lost:
                    self.counts[_DROPPED, "watcher_slow"] += lost

    async def _count_people(self) -> None:
        """Count the people of every watched project, again and again."""
        while True:
            self._hurry.clear()
            began = self._clock.monotonic_seconds()
            for project_id in list(self._rooms):
                await self._count(project_id)
            took = self._clock.monotonic_seconds() - began
            await wait(self._hurry, max(VISITORS_SECONDS, _COUNTING_SHARE * took))

    async def _count(self, project_id: str) -> None:
        room = self._rooms.get(project_id)
        now = self._clock.monotonic_seconds()
        if room is None:
            return
        if room.counted_at is not None and now - room.counted_at < VISITORS_SECONDS / 2:
            return  # somebody else was in a hurry
        room.counted_at = now
        now_ms = (self._clock.now() - _EPOCH) // timedelta(milliseconds=1)
        try:
            visitors = await self._reader.visitors(project_id, now_ms=now_ms)
        except ApplianceError as error:
            _LOG.debug("visitors_not_counted", reason=error.reason)
            return
        room.visitors = msgspec.json.encode(visitors)
        for watcher in room.everybody():
            watcher.show(room.visitors)
