"""The frame of every worker that handles queue messages one by one [workers 1].

Invariant: a message ends in exactly one way: handled and acknowledged, put back with the delay of
its delivery, or kept as a dead letter and ended; only a dead letter that cannot be kept is lost,
and that is counted. What a message means is the work's business, when it is over is decided in
`domain/delivery.py`.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol, runtime_checkable

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, ConflictError
from appliance.base.tasks import wait
from appliance.domain.delivery import DELIVERIES_MAX, Disposition, RetryAfter, is_permanent, judge
from appliance.storage.streams.deadletters import DeadLetters, Origin
from appliance.storage.streams.work import WorkItem, WorkSource
from appliance.workers.state import WorkerState

FETCH_SECONDS: Final = 1.0
FETCH_ERRORS_MAX: Final = 10
FETCH_PAUSE_SECONDS: Final = 0.5
RESTART_SECONDS: Final = 5.0
DRAIN_SECONDS_MAX: Final = 5.0
BURY_SECONDS_MAX: Final = 5.0
"""Own deadline of keeping a dead letter: that of the work may have passed."""
TIDY_SECONDS: Final = 60.0

_LOG: Final = structlog.stdlib.get_logger()


class Work(Protocol):
    """What one kind of message asks for; the same message may come more than once."""

    @property
    def name(self) -> str:
        """The worker's name in logs, metrics and dead letters."""
        ...

    async def handle(self, payload: bytes, /) -> None:
        """Do what the message asks for.

        An ApplianceError that is not transient ends the message; any other error is tried again.
        """
        ...

    def labels(self, payload: bytes, /) -> Mapping[str, str]:
        """What a dead letter of a final failure carries in its headers, like ids [workers 1]."""
        ...

    def kept(self, payload: bytes, /) -> bytes:
        """The payload as a dead letter holds it."""
        ...


@runtime_checkable
class GivesUp(Protocol):
    """Work that keeps a record of its own of what ended badly."""

    async def give_up(self, payload: bytes, cause: str, /) -> None:
        """Write down that the message failed for good; called before its dead letter is kept."""
        ...


class Limits(Struct, frozen=True, kw_only=True):
    """How many messages at once, how long each, how often it comes.

    `seconds_max` is at most the consumer's wait for an acknowledgement. `forget` removes settled
    messages from the stream.
    """

    parallel: int
    seconds_max: float
    deliveries_max: int = DELIVERIES_MAX
    forget: bool = False


class QueueWorker:
    """Takes messages from one source and has them handled; `run` it once."""

    def __init__(
        self,
        source: WorkSource,
        work: Work,
        dead_letters: DeadLetters,
        *,
        limits: Limits,
        state: WorkerState,
        clock: Clock,
    ) -> None:
        self._source = source
        self._work = work
        self._dead_letters = dead_letters
        self._limits = limits
        self._state = state
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()
        self._begun = False
        self._tidied_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then give what runs five seconds.

        Raises ConflictError when it was started before.
        """
        if self._begun:
            raise ConflictError("ALREADY_STARTED", f"the worker {self._work.name} runs already")
        self._begun = True
        async with asyncio.TaskGroup() as group:
            try:
                while not stop.is_set():
                    await self._fetch(stop, group)
            finally:
                await self._source.close()
                await self._drain()

    async def _fetch(self, stop: asyncio.Event, group: asyncio.TaskGroup) -> None:
        """Take messages until `stop`, or until too many errors in a row; then rest."""
        errors = 0
        opened = False
        while not stop.is_set() and errors < FETCH_ERRORS_MAX:
            try:
                if not opened:
                    await self._source.open()
                    opened = True
                    self._resume()
                await self._take(group)
                errors = 0
            except ApplianceError as error:
                errors += 1
                opened = False
                self._pause(error)
                await wait(stop, FETCH_PAUSE_SECONDS)
        if not stop.is_set():
            self._state.broken = f"the queue cannot be read: {self._state.pause}"
            _LOG.error("worker_broken", worker=self._work.name, reason=self._state.pause)
            await wait(stop, RESTART_SECONDS)

    def _resume(self) -> None:
        if self._state.pause:
            _LOG.info("worker_resumed", worker=self._work.name, after=self._state.pause)
        self._state.pause = ""
        self._state.broken = ""
        self._state.started = True

    def _pause(self, error: ApplianceError) -> None:
        if not self._state.pause:
            self._state.pauses += 1
            _LOG.warning("worker_paused", worker=self._work.name, reason=error.reason)
        self._state.pause = error.reason

    async def _take(self, group: asyncio.TaskGroup) -> None:
        """Start one message, or wait a moment for one."""
        free = self._limits.parallel - len(self._running)
        if free <= 0:
            await asyncio.wait(
                self._running, timeout=FETCH_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            return
        item = await self._source.next(free=free, wait_seconds=FETCH_SECONDS)
        if item is None:
            if not self._running:
                self._state.lag_seconds = 0.0
            await self._tidy()
            return
        task = group.create_task(self._settle(item))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _tidy(self) -> None:
        """Remove settled messages that a crash left behind."""
        now = self._clock.monotonic_seconds()
        if not self._limits.forget or (self._tidied_at and now - self._tidied_at < TIDY_SECONDS):
            return
        gone = await self._source.forget_settled()
        self._tidied_at = now
        if gone:
            _LOG.info("queue_tidied", worker=self._work.name, messages=gone)

    async def _drain(self) -> None:
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=DRAIN_SECONDS_MAX)
            for task in late:
                task.cancel()

    async def _settle(self, item: WorkItem) -> None:
        """Handle one message and tell the queue how it ended; never raises."""
        began_at = self._clock.monotonic_seconds()
        try:
            failure = await self._attempt(item)
            self._time(item, self._clock.monotonic_seconds() - began_at)
            if failure is None:
                await self._source.done(item)
                self._state.rows += 1
                await self._forget(item)
            else:
                await self._fail(item, failure)
        except ApplianceError as error:
            # Not told, so it comes again; the work is done twice at worst.
            _LOG.warning("message_not_settled", worker=self._work.name, reason=error.reason)

    def _time(self, item: WorkItem, seconds: float) -> None:
        self._state.work.observe(seconds)
        if item.queued_at is not None:
            waited = max(0.0, self._clock.now().timestamp() - item.queued_at)
            self._state.freshness.observe(waited)
            self._state.lag_seconds = waited

    async def _attempt(self, item: WorkItem) -> Exception | None:
        try:
            async with asyncio.timeout(self._limits.seconds_max):
                await self._work.handle(item.payload)
        except TimeoutError as error:
            return error
        except Exception as error:  # noqa: BLE001 one message's failure is not the worker's
            return error
        return None

    async def _fail(self, item: WorkItem, failure: Exception) -> None:
        permanent = is_permanent(failure)
        verdict = judge(
            permanent=permanent,
            delivery=item.delivery,
            deliveries_max=self._limits.deliveries_max,
        )
        reason = describe(failure)
        _LOG.warning(
            "message_failed",
            worker=self._work.name,
            reason=getattr(failure, "reason", type(failure).__name__),
            cause=reason,
            delivery=item.delivery,
            sequence=item.sequence,
        )
        if isinstance(verdict, RetryAfter):
            await self._source.later(item, seconds=verdict.seconds)
            return
        if isinstance(self._work, GivesUp):
            await self._work.give_up(item.payload, reason)
        await self._bury(item, reason, verdict.disposition)
        await self._source.never(item)
        await self._forget(item)

    async def _bury(self, item: WorkItem, reason: str, disposition: Disposition) -> None:
        """Keep a dead letter; when that fails it is lost, counted and told."""
        extra = {"worker": self._work.name}
        if disposition is Disposition.PERMANENT:
            extra |= self._work.labels(item.payload)
        try:
            async with asyncio.timeout(BURY_SECONDS_MAX):
                await self._dead_letters.keep(
                    self._work.kept(item.payload),
                    item.headers,
                    origin=Origin(
                        subject=item.subject,
                        stream=self._source.stream,
                        consumer=self._source.durable,
                        sequence=item.sequence,
                        deliveries=item.delivery,
                    ),
                    reason=reason,
                    disposition=disposition,
                    now=self._clock.now(),
                    extra=extra,
                )
        except (ApplianceError, TimeoutError) as error:
            self._state.count_dead_letter(disposition, outcome="dropped")
            _LOG.error(
                "message_lost",
                worker=self._work.name,
                sequence=item.sequence,
                cause=type(error).__name__,
            )
            return
        self._state.count_dead_letter(disposition, outcome="published")

    async def _forget(self, item: WorkItem) -> None:
        if self._limits.forget:
            await self._source.forget(item)


def describe(failure: Exception) -> str:
    """A failure in words that may be kept; of an unexpected one only its kind."""
    if isinstance(failure, ApplianceError):
        return failure.message
    if isinstance(failure, TimeoutError):
        return "handling took too long"
    return f"an unexpected {type(failure).__name__}"
