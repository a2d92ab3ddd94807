"""Handles calls that name persons again after a store was put back to an earlier moment.

Invariant: every call on the queue is in force in both stores, whichever of them was restored. The
mark in the relational store trails behind by `TRAIL_SECONDS`: what it covers was in both stores
that long ago, so it is in any copies of them made closer together than that. At the start whatever
lies between mark and acknowledged is handled once more, which changes nothing where it was in force
(decision 0023). Nobody whose erasure was asked for meanwhile comes back.
"""

import asyncio
from collections import deque
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError
from appliance.base.tasks import wait
from appliance.domain.people.erasure import StreamMark
from appliance.domain.people.messages import read_identification
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.services.merging import Merging
from appliance.services.schema_rules import read_message
from appliance.services.stores import Stores
from appliance.storage.clickhouse.profiles_write import ProfileInserts
from appliance.storage.postgres.erasure import is_erasure_asked
from appliance.storage.postgres.queue_marks import load_mark, raise_versions, save_mark
from appliance.storage.streams.erasure import PersonQueues, Waiting
from appliance.storage.streams.people import (
    ALIAS_SUBJECT,
    IDENTIFY_SUBJECT,
    PROFILES_STREAM,
    UPSERT_SUBJECT,
)

MARK: Final = "identify"
TICK_SECONDS: Final = 15.0
TRAIL_SECONDS: Final = 120.0
"""Longer than the copies of the stores in one backup can be apart."""
RETRY_SECONDS: Final = 1.0
TOGETHER: Final = 8
"""Calls handled at once."""

_LOG: Final = structlog.stdlib.get_logger()


class Stretch(Struct, frozen=True, kw_only=True):
    """Calls to handle again: those after one sequence up to another."""

    after: int
    until: int


class _Passed(Struct, frozen=True, kw_only=True):
    """A mark that both stores had reached at `at_seconds`, of the monotonic clock."""

    mark: StreamMark
    at_seconds: float


class Replay:
    """Brings stores that were put back up to the queue, and keeps the mark."""

    def __init__(
        self,
        stores: Stores,
        merging: Merging,
        clock: Clock,
        *,
        tick_seconds: float = TICK_SECONDS,
        trail_seconds: float = TRAIL_SECONDS,
    ) -> None:
        self._stores = stores
        self._merging = merging
        self._clock = clock
        self._queues = PersonQueues(stores.streams, stores.publisher)
        self._tick_seconds = tick_seconds
        self._trail_seconds = trail_seconds
        self._passed: deque[_Passed] = deque()

    async def plan(self) -> Stretch:
        """What to handle again; asked for before the worker takes its first message."""
        mark = await load_mark(self._stores.postgres, MARK)
        after = 0 if mark is None else await self._queues.place_of(PROFILES_STREAM, mark)
        done = (await self._queues.handled_profiles())[IDENTIFY_SUBJECT]
        return Stretch(after=after, until=done)

    async def run(self, stretch: Stretch, stop: asyncio.Event) -> None:
        """Handle the stretch again, then move the mark until `stop`."""
        while not stop.is_set():
            try:
                await self.catch_up(stretch)
                break
            except ApplianceError as error:
                _LOG.warning("people_replay_paused", reason=error.reason)
                await wait(stop, RETRY_SECONDS)
        while not stop.is_set():
            try:
                await self._follow(stop)
            except ApplianceError as error:
                _LOG.debug("people_mark_not_moved", reason=error.reason)
            await wait(stop, self._tick_seconds)

    async def catch_up(self, stretch: Stretch) -> int:
        """Handle again what was acknowledged after the mark; how many calls that were."""
        newest = await ProfileInserts(self._stores.clickhouse).newest_version()
        if await raise_versions(self._stores.postgres, newest):
            _LOG.warning("people_versions_raised", above=newest)
        if stretch.after >= stretch.until:
            return 0
        count = 0
        group: list[Waiting] = []
        async for message in self._queues.read(
            PROFILES_STREAM, until=stretch.until, after=stretch.after
        ):
            if message.subject != IDENTIFY_SUBJECT:
                continue
            group.append(message)
            count += 1
            if len(group) == TOGETHER:
                await self._repeat(group)
                group = []
        await self._repeat(group)
        if count:
            _LOG.info("people_replayed", calls=count, after=stretch.after, until=stretch.until)
        return count

    async def _repeat(self, group: list[Waiting]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for message in group:
                tasks.create_task(self._repeat_one(message))

    async def _repeat_one(self, message: Waiting) -> None:
        """Handle a call again; one that failed for good is a dead letter already."""
        while True:
            try:
                await self._apply(message.payload)
            except ApplianceError as error:
                if error.transient:
                    _LOG.warning("people_replay_paused", reason=error.reason)
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                _LOG.info("call_not_replayed", sequence=message.sequence, reason=error.reason)
            except Exception:  # noqa: BLE001 one call must not keep the others
                _LOG.exception("call_not_replayed", sequence=message.sequence)
            return

    async def _apply(self, payload: bytes) -> None:
        message = read_message(ProfileIdentifyMessage, payload)
        call = read_identification(message, now=self._clock.now())
        if not await is_erasure_asked(
            self._stores.postgres,
            call.project_id,
            call.external_id,
            since_micros=abs(call.accepted_at),
        ):
            await self._merging.apply(call)

    async def _follow(self, stop: asyncio.Event) -> None:
        """Note how far both stores are, and move the mark to where they were long enough ago."""
        done = (await self._queues.handled_profiles())[IDENTIFY_SUBJECT]
        end = (await self._queues.mark()).profiles
        for subject in (UPSERT_SUBJECT, ALIAS_SUBJECT):
            while not await self._queues.profiles_passed(end, subject):
                await wait(stop, self._tick_seconds)
                if stop.is_set():
                    return
        now = self._clock.monotonic_seconds()
        self._passed.append(_Passed(mark=StreamMark(life=end.life, sequence=done), at_seconds=now))
        ready: _Passed | None = None
        while self._passed and self._passed[0].at_seconds <= now - self._trail_seconds:
            ready = self._passed.popleft()
        if ready is not None:
            await save_mark(self._stores.postgres, MARK, ready.mark)
