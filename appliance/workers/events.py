"""The events worker: stream `events` to table `events`, every accepted event exactly once.

Invariant: a block stands in the ledger before its insert starts, and its messages are acknowledged
only after every row of it is in the raw table and in every roll-up. After anything unexpected the
worker reads the ledger again and settles the open block by looking at what is really stored; it
never concludes from silence (decision 0002). An outage pauses it and costs no message. What the
block is made of is decided in `domain/ingest/blocks.py`, settling lives in `settle.py`.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    InvalidInputError,
    UnavailableError,
)
from appliance.base.tasks import wait
from appliance.base.units import Seconds
from appliance.domain.delivery import Disposition
from appliance.domain.ingest.blocks import (
    Block,
    Identity,
    Message,
    count_kept,
    find_malformed,
    parse_message,
    plan_left_out,
    render_block,
)
from appliance.storage.clickhouse.inserts import EventInserts
from appliance.storage.streams.block_ledger import BlockLedger, Position
from appliance.storage.streams.consume import Delivery, LogReader, Spare
from appliance.storage.streams.deadletters import DeadLetters, Origin
from appliance.storage.streams.publish import EVENTS_DURABLE, EVENTS_STREAM, PROJECT_HEADER
from appliance.workers.settle import Settler, block_columns, block_token
from appliance.workers.state import WorkerState

BLOCK_BYTES_MAX: Final = 32 << 20
BLOCK_MESSAGES_MAX: Final = 4000
IDLE_SECONDS: Final = 0.5
BEAT_SECONDS: Final = 5.0
STANDBY_SECONDS: Final = 15.0
STANDBY_POLL_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
REPLAY_BYTES_MAX: Final = 2 << 30
"""How much of what is stored already stays on the queue for replaying."""
TRIM_SECONDS: Final = 30.0
WORKER_NAME: Final = "events"
_EMPTY_READS_MAX: Final = 10

_LOG: Final = structlog.stdlib.get_logger()


class Limits(Struct, frozen=True, kw_only=True):
    """How large a block grows, how long its first event waits for company, what stays to replay.

    `queue_bytes_max` is the size at which the API refuses events, where the operator has set one.
    """

    rows_max: int
    wait: Seconds
    replay_bytes_max: int = REPLAY_BYTES_MAX
    queue_bytes_max: int | None = None
    trim_seconds: float = TRIM_SECONDS

    @property
    def kept_bytes_max(self) -> int:
        """What stays to replay: never so much that there is no room for what comes."""
        if self.queue_bytes_max is None:
            return self.replay_bytes_max
        return min(self.replay_bytes_max, self.queue_bytes_max // 2)

    def spared_bytes_max(self, wanted: int) -> int:
        """Up to which size of the stream a restore point's messages stay; `wanted` is where events
        would be refused.
        """
        limit = wanted if self.queue_bytes_max is None else min(wanted, self.queue_bytes_max)
        return limit - limit // 4


class Dead(Struct, frozen=True, kw_only=True):
    """A message that can never be stored, and why."""

    delivery: Delivery
    reason: str


class Gathered(Struct, frozen=True, kw_only=True):
    """Messages taken from the stream for one block."""

    messages: tuple[Message, ...]
    deliveries: tuple[Delivery, ...]
    dead: tuple[Dead, ...]


class EventsWriter:
    """One events worker; `run` it once."""

    def __init__(
        self,
        *,
        reader: LogReader,
        ledger: BlockLedger,
        inserts: EventInserts,
        dead_letters: DeadLetters,
        clock: Clock,
        limits: Limits,
        state: WorkerState,
        owner: str,
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._inserts = inserts
        self._dead_letters = dead_letters
        self._clock = clock
        self._limits = limits
        self._state = state
        self._owner = owner
        self._settler = Settler(inserts)
        self._carried: Delivery | None = None
        self._beat_at = 0.0
        self._trimmed_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; outages are waited out, bugs end it."""
        pauses = 0
        while not stop.is_set():
            try:
                await self._work(stop)
            except ConflictError:
                await self._stand_by(stop)
                pauses = 0
            except ApplianceError as error:
                if not self._state.pause:
                    pauses = 0
                    self._state.pauses += 1
                    _LOG.warning("worker_paused", reason=error.reason, cause=error.message)
                self._state.pause = error.reason
                await wait(stop, PAUSE_SECONDS[min(pauses, len(PAUSE_SECONDS) - 1)])
                pauses += 1
        await self._reader.close()

    async def _work(self, stop: asyncio.Event) -> None:
        """Take the record over, settle what may be half done, then go on for ever."""
        position = await self._ledger.take_over()
        if position.newest == 0:
            newest = await self._inserts.newest_block()
            position = msgspec.structs.replace(position, newest=newest)
        self._carried = None
        if position.block is not None:
            position = await self._settle_open_block(position, position.block)
        await self._reader.open(position.done + 1)
        self._beat_at = self._clock.monotonic_seconds()
        if self._state.pause:
            _LOG.info("worker_resumed", after=self._state.pause)
        self._state.pause = ""
        self._state.started = True
        while not stop.is_set():
            position = await self._step(position)
        if position.block is not None:
            await self._close_block(position)

    async def _step(self, position: Position) -> Position:
        gathered = await self._gather()
        if gathered is None:
            self._state.lag_seconds = 0.0
            return await self._beat(position)
        gathered, stored = await self._look_up(gathered)
        dead = tuple(one.delivery.sequence for one in gathered.dead)
        for one in gathered.dead:
            await self._bury(one)
        block = Block(
            number=max(position.newest + 1, int(self._clock.now().timestamp() * 1000)),
            first=position.done + 1,
            last=gathered.deliveries[-1].sequence,
            left_out=plan_left_out(gathered.messages, stored),
            dead=dead,
        )
        position = await self._open_block(position, block)
        began_at = self._clock.monotonic_seconds()
        block = await self._insert(block, gathered)
        self._state.work.observe(self._clock.monotonic_seconds() - began_at)
        self._count(gathered, block)
        await self._reader.acknowledge([one.reply for one in gathered.deliveries])
        await self._trim(block.last)
        # `done` is written with the next block, or by the next beat: until then a crash only
        # makes the next worker look once more
        return msgspec.structs.replace(position, done=block.last, block=block)

    async def _trim(self, done: int) -> None:
        now = self._clock.monotonic_seconds()
        if now - self._trimmed_at < self._limits.trim_seconds:
            return
        self._trimmed_at = now
        wanted = await self._ledger.wanted(self._clock.now().timestamp())
        spare = None
        if wanted:
            spared = self._limits.spared_bytes_max(wanted.bytes_max)
            spare = Spare(first=wanted.first, bytes_max=spared)
        limit = self._limits.kept_bytes_max
        gone = await self._reader.trim(done=done, bytes_max=limit, spare=spare)
        if gone:
            _LOG.info("queue_trimmed", messages=gone)

    async def _look_up(self, gathered: Gathered) -> tuple[Gathered, set[Identity]]:
        """Which of the events are stored; what cannot even be looked up is a dead letter."""
        wanted = {one for message in gathered.messages for one in message.identities}
        try:
            return gathered, await self._inserts.find_stored(wanted)
        except InvalidInputError as error:
            malformed = find_malformed(gathered.messages)
            if not malformed:
                raise ApplianceError(
                    "BLOCK_UNREADABLE", "the event store refuses to look events up"
                ) from error
            dead = tuple(
                Dead(delivery=one, reason="an event id or a time is malformed")
                for one in gathered.deliveries
                if one.sequence in malformed
            )
            kept = tuple(one for one in gathered.messages if one.sequence not in malformed)
            return await self._look_up(
                msgspec.structs.replace(gathered, messages=kept, dead=gathered.dead + dead)
            )

    async def _open_block(self, position: Position, block: Block) -> Position:
        opened = msgspec.structs.replace(
            position,
            done=block.first - 1,
            newest=block.number,
            block=block,
            beat=position.beat + 1,
        )
        await self._ledger.record(opened)
        self._beat_at = self._clock.monotonic_seconds()
        return opened

    async def _close_block(self, position: Position) -> Position:
        closed = msgspec.structs.replace(position, block=None, beat=position.beat + 1)
        await self._ledger.record(closed)
        self._beat_at = self._clock.monotonic_seconds()
        return closed

    async def _beat(self, position: Position) -> Position:
        """Close the block when nothing follows, and show a sign of life now and then.

        Trimming goes on: a queue that is full of what is stored gets no message that would do it.
        """
        await self._trim(position.done)
        idle = self._clock.monotonic_seconds() - self._beat_at
        if idle >= BEAT_SECONDS or (position.block is not None and idle >= IDLE_SECONDS):
            return await self._close_block(position)
        return position

    async def _insert(self, block: Block, gathered: Gathered) -> Block:
        """Insert the block; poison that only the engine can see is taken out first."""
        while count_kept(gathered.messages, block):
            chunks = render_block(gathered.messages, block, block_columns(block))
            try:
                await self._inserts.insert_events(chunks, token=block_token(block))
            except InvalidInputError as error:
                block = await self._isolate(block, gathered, error)
            else:
                break
        return block

    async def _isolate(self, block: Block, gathered: Gathered, error: InvalidInputError) -> Block:
        """Take out the messages that the engine cannot read; their neighbours stay.

        Nothing of the block is stored yet: the engine reads all of it before it writes.
        """
        candidates = [one for one in gathered.messages if one.sequence not in block.dead]
        poisoned = await self._find_poison(candidates, block)
        if not poisoned:
            raise ApplianceError(
                "BLOCK_UNREADABLE",
                "the event store refuses a block although it reads each of its messages",
            ) from error
        by_sequence = {one.sequence: one for one in gathered.deliveries}
        for sequence in poisoned:
            await self._bury(Dead(delivery=by_sequence[sequence], reason=error.message))
        smaller = msgspec.structs.replace(
            block, dead=(*block.dead, *poisoned), repairs=block.repairs + 1
        )
        position = await self._current_position()
        await self._open_block(position, smaller)
        return smaller

    async def _find_poison(self, messages: Sequence[Message], block: Block) -> tuple[int, ...]:
        if not messages:
            return ()
        chunks = render_block(messages, block, block_columns(block))
        try:
            if chunks:
                await self._inserts.check_readable(chunks)
        except InvalidInputError:
            if len(messages) == 1:
                return (messages[0].sequence,)
            middle = len(messages) // 2
            return await self._find_poison(messages[:middle], block) + await self._find_poison(
                messages[middle:], block
            )
        return ()

    async def _current_position(self) -> Position:
        position = await self._ledger.load()
        if position is None or position.owner != self._owner:
            raise ConflictError("ABORTED", "another worker took over")
        return position

    async def _settle_open_block(self, position: Position, block: Block) -> Position:
        """Finish a block whose fate is unknown: the same messages, the same decision."""
        gathered = await self._read_range(block)

        async def record(changed: Block) -> None:
            await self._open_block(position, changed)

        settled = False
        while not settled:
            try:
                block, repaired = await self._settler.settle(block, gathered.messages, record)
            except InvalidInputError as error:
                block = await self._isolate(block, gathered, error)
            else:
                settled = True
                self._state.repairs += repaired
        _LOG.info("block_settled", first=block.first, last=block.last, repairs=block.repairs)
        await self._reader.acknowledge([one.reply for one in gathered.deliveries])
        return await self._close_block(
            msgspec.structs.replace(position, done=block.last, newest=block.number, block=block)
        )

    async def _read_range(self, block: Block) -> Gathered:
        """The messages of a recorded block, read again; those gone from the stream are missing."""
        await self._reader.open(block.first)
        messages: list[Message] = []
        deliveries: list[Delivery] = []
        reached, empty_reads = 0, 0
        while reached < block.last and empty_reads <= _EMPTY_READS_MAX:
            delivery = await self._reader.next(wait_seconds=IDLE_SECONDS)
            if delivery is None:
                empty_reads += 1
                continue
            reached = delivery.sequence
            if reached > block.last:
                break
            deliveries.append(delivery)
            if reached not in block.dead:
                messages.append(parse_message(reached, delivery.payload))
        if reached < block.last and await self._reader.has_more(after=reached, last=block.last):
            raise UnavailableError("UNAVAILABLE", "the queue did not deliver all of a block")
        return Gathered(messages=tuple(messages), deliveries=tuple(deliveries), dead=())

    async def _gather(self) -> Gathered | None:
        """Messages for one block: those that came, or that come within the wait."""
        first = self._carried or await self._reader.next(wait_seconds=IDLE_SECONDS)
        self._carried = None
        if first is None:
            return None
        deadline = self._clock.monotonic_seconds() + float(self._limits.wait)
        messages: list[Message] = []
        deliveries: list[Delivery] = []
        dead: list[Dead] = []
        rows = size = 0
        delivery: Delivery | None = first
        while delivery is not None:
            try:
                message = parse_message(delivery.sequence, delivery.payload)
            except InvalidInputError as error:
                dead.append(Dead(delivery=delivery, reason=error.message))
            else:
                if messages and rows + len(message.rows) > self._limits.rows_max:
                    self._carried = delivery
                    break
                messages.append(message)
                rows += len(message.rows)
                size += len(delivery.payload)
            deliveries.append(delivery)
            if size >= BLOCK_BYTES_MAX or len(deliveries) >= BLOCK_MESSAGES_MAX:
                break
            rest = deadline - self._clock.monotonic_seconds()
            delivery = await self._reader.next(wait_seconds=rest) if rest > 0 else None
        return Gathered(messages=tuple(messages), deliveries=tuple(deliveries), dead=tuple(dead))

    async def _bury(self, dead: Dead) -> None:
        """Put a message among the dead letters; a full dead-letter stream loses it, visibly."""
        delivery = dead.delivery
        extra = {"worker": WORKER_NAME}
        if PROJECT_HEADER in delivery.headers:
            extra["project_id"] = delivery.headers[PROJECT_HEADER]
        try:
            await self._dead_letters.keep(
                delivery.payload,
                delivery.headers,
                origin=Origin(
                    subject=delivery.subject,
                    stream=EVENTS_STREAM,
                    consumer=EVENTS_DURABLE,
                    sequence=delivery.sequence,
                    deliveries=1,
                ),
                reason=dead.reason,
                disposition=Disposition.PERMANENT,
                now=self._clock.now(),
                extra=extra,
            )
        except ApplianceError as error:
            if error.reason == "UNAVAILABLE":
                raise
            self._state.count_dead_letter(Disposition.PERMANENT, outcome="dropped")
            _LOG.exception("dead_letter_dropped", sequence=delivery.sequence, reason=error.reason)
            return
        self._state.count_dead_letter(Disposition.PERMANENT, outcome="published")
        _LOG.warning("dead_letter", sequence=delivery.sequence, reason=dead.reason)

    async def _stand_by(self, stop: asyncio.Event) -> None:
        """Another worker has the record: wait until it shows no sign of life."""
        await self._reader.close()
        try:
            if await self._ledger.is_ours():
                return  # our own write arrived although its answer was lost
        except ApplianceError:
            return  # who holds the record is asked again when the queue answers
        _LOG.info("worker_standing_by")
        self._state.pause = "STANDING_BY"
        seen, quiet = self._ledger.revision, 0.0
        while not stop.is_set() and quiet < STANDBY_SECONDS:
            await wait(stop, STANDBY_POLL_SECONDS)
            try:
                await self._ledger.load()
            except ApplianceError:
                continue
            quiet = quiet + STANDBY_POLL_SECONDS if self._ledger.revision == seen else 0.0
            seen = self._ledger.revision

    def _count(self, gathered: Gathered, block: Block) -> None:
        messages = gathered.messages
        kept = count_kept(messages, block)
        self._state.blocks += 1
        self._state.rows += kept
        self._state.repeated_rows += sum(len(one.rows) for one in messages) - kept
        now = self._clock.now().timestamp()
        rows = {one.sequence: len(one.rows) for one in messages}
        for one in gathered.deliveries:
            if one.sequence in rows:
                waited = max(0.0, now - one.queued_at)
                self._state.freshness.observe(waited, times=rows[one.sequence])
        self._state.lag_seconds = max(0.0, now - gathered.deliveries[0].queued_at)
        _LOG.debug("block_stored", number=block.number, messages=len(messages), rows=kept)
