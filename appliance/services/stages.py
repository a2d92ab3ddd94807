"""Every stage's numbers for one `/metrics`: what workers tell, and what waits in the queue.

Invariant: a scrape costs the queue at most one round of questions a second, however many ask, and
never hangs: without an answer in time the numbers of the queue are missing and `queue_up` is 0.
"""

import asyncio
from collections.abc import Callable, Iterable
from math import inf
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError
from appliance.domain.figures import Family, Kind, Sample, merge
from appliance.services.queue_room import QueueRoom
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.deadletters import DEAD_STREAM_PREFIX
from appliance.storage.streams.publish import EVENTS_STREAM
from appliance.storage.streams.queues import Stored, Waiting, load_stored, load_waiting
from appliance.storage.streams.reports import Reports

ASK_SECONDS: Final = 1.0
"""How old the queue's numbers may be."""
ASK_SECONDS_MAX: Final = 2.0

_LOG: Final = structlog.stdlib.get_logger()


class Stages:
    """Collects the numbers; made before the queue's connection, one of them a process."""

    def __init__(self, streams: Streams, room: QueueRoom, clock: Clock) -> None:
        self._streams = streams
        self._room = room
        self._clock = clock
        self._reports = Reports(streams, clock)
        self._queue: tuple[Family, ...] = ()
        self._asked_at = -inf
        self._asking = asyncio.Lock()

    async def families(self) -> tuple[Family, ...]:
        """All numbers of now."""
        async with self._asking:
            now = self._clock.monotonic_seconds()
            if now - self._asked_at >= ASK_SECONDS:
                self._queue = await self._ask()
                self._asked_at = now
        return merge((*self._queue, *self._told()))

    def _told(self) -> Iterable[Family]:
        heard = self._reports.all()
        yield _gauge(
            "worker_report_age_seconds",
            "Since a worker process last told its numbers.",
            [Sample(labels={"process": o.report.process}, value=o.age_seconds) for o in heard],
        )
        for one in heard:
            if one.fresh:
                yield from one.report.families

    async def _ask(self) -> tuple[Family, ...]:
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                await self._room.look()
                waiting = await load_waiting(self._streams)
                stored = await load_stored(self._streams)
        except (ApplianceError, TimeoutError) as error:
            _LOG.debug("queue_figures_missing", cause=type(error).__name__)
            return (_up(0.0),)
        return (_up(1.0), *self._waiting(waiting), *_stored(stored), self._limit())

    def _waiting(self, waiting: Iterable[Waiting]) -> tuple[Family, ...]:
        now = self._clock.now()

        def age(one: Waiting) -> float:
            return 0.0 if one.oldest_at is None else max(0.0, (now - one.oldest_at).total_seconds())

        def family(name: str, meaning: str, read: Callable[[Waiting], float]) -> Family:
            samples = [
                Sample(labels={"stream": one.stream, "consumer": one.consumer}, value=read(one))
                for one in waiting
            ]
            return _gauge(name, meaning, samples)

        return (
            family("queue_waiting_messages", "Batches that are not handled yet.", _count),
            family("queue_age_seconds", "How long the oldest of them has waited.", age),
        )

    def _limit(self) -> Family:
        limit = self._room.bytes_max
        samples = [] if limit is None else [Sample(labels={"stream": EVENTS_STREAM}, value=limit)]
        return _gauge("queue_bytes_max", "Size at which events are refused.", samples)


def _count(one: Waiting) -> float:
    return one.messages


def _up(value: float) -> Family:
    return _gauge("queue_up", "Whether the queue answers.", [Sample(labels={}, value=value)])


def _stored(stored: Iterable[Stored]) -> tuple[Family, ...]:
    dead = [one for one in stored if one.stream.startswith(DEAD_STREAM_PREFIX)]
    alive = [one for one in stored if one not in dead]
    return (
        _gauge(
            "queue_bytes",
            "Size of a stream, with what stays for replaying.",
            [Sample(labels={"stream": one.stream}, value=one.bytes) for one in alive],
        ),
        _gauge(
            "dead_letters",
            "Messages that were given up and wait for somebody to look at them.",
            [
                Sample(
                    labels={"stream": one.stream.removeprefix(DEAD_STREAM_PREFIX)},
                    value=one.messages,
                )
                for one in dead
            ],
        ),
    )


def _gauge(name: str, meaning: str, samples: list[Sample]) -> Family:
    return Family(name=name, kind=Kind.GAUGE, meaning=meaning, samples=tuple(samples))
