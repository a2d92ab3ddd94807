"""Brings the events of a file in, through the queue, each of them once.

Invariant: a file takes the way of every other event: rows on the queue, stored by the events
worker, which leaves out what is stored already. So an import that was killed, repeated, or sent in
another cut counts every event once, in the raw table and in the roll-ups (decision 0002); erasure,
the disk's reserve and the queue's bound hold for it, too. What the journal calls done is on the
queue's disk. Live events go before: an import waits while more than a few messages are unstored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, assert_never

import structlog
from msgspec import Struct, field, structs

from appliance.base.clock import Clock
from appliance.base.errors import (
    ApplianceError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from appliance.base.tasks import poll
from appliance.domain.access.callers import Actor
from appliance.domain.compat.mapped import Identity, Mapped, Untold
from appliance.domain.ingest.event import CheckedEvent, Event
from appliance.domain.ingest.rows import Block, encode_blocks, encode_rows
from appliance.domain.moving.accept import BATCH_EVENTS_MAX, accept_events
from appliance.domain.moving.foreign import System, Told, read_posthog, read_segment
from appliance.domain.moving.records import Columns, Record, read_record
from appliance.domain.moving.values import Refused
from appliance.domain.people.messages import Identification
from appliance.domain.people.traits import without_address
from appliance.services.audit import AuditLog
from appliance.services.identify import IdentifyService
from appliance.services.ingest import make_message_id
from appliance.services.moving.files import FileRecord, RecordSource
from appliance.services.moving.journal import (
    REFUSED_TEXT_BYTES_MAX,
    ImportState,
    Journal,
    RefusedLine,
    count_reason,
)
from appliance.services.stores import Stores
from appliance.storage.postgres.projects import find_project
from appliance.storage.streams.consume import LogReader
from appliance.storage.streams.erasure import PersonQueues
from appliance.storage.streams.publish import (
    EVENTS_DURABLE,
    EVENTS_STREAM,
    EVENTS_SUBJECT,
    PROJECT_HEADER,
)

BATCHES_AT_ONCE: Final = 4
BACKLOG_MESSAGES_MAX: Final = 60
"""So many messages may wait to be stored: about the rows of one block of the events worker."""
PATIENCE_SECONDS: Final = 600.0
"""How long a queue that takes nothing, or a worker that stores nothing, is waited for."""
HOPELESS_LINES: Final = 1000
"""When so many lines in a row at the beginning are refused, the file is not what was said."""
_POLL_SECONDS: Final = 0.2
_PAUSE_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
_MICROSECONDS: Final = 1000
_PASSED: Final = frozenset({Untold.ANONYMOUS_TRAITS, Untold.GROUP_TRAITS, Untold.RECORDING})
_REASON_CHARACTERS_MAX: Final = 120

_LOG: Final = structlog.stdlib.get_logger()


class ImportOrder(Struct, frozen=True, kw_only=True):
    """What is imported where: whose export it is, and which column is what."""

    project_id: str
    system: System
    columns: Columns
    file: str


class ImportReport(Struct, frozen=True, kw_only=True):
    """What became of a file. `stored`: the event store has all of it, not only the queue."""

    records: int
    events: int
    people: int
    refused: int
    passed: Mapping[str, int]
    reasons: Mapping[str, int]
    refused_file: str
    resumed_at: int
    stored: bool
    seconds: float


class _Part(Struct, kw_only=True):
    """One piece of the file, sorted into what is sent and what is not."""

    records: int
    events: list[CheckedEvent] = field(default_factory=list[CheckedEvent])
    origins: list[FileRecord] = field(default_factory=list[FileRecord])
    people: list[tuple[Identity, int]] = field(default_factory=list[tuple[Identity, int]])
    refused: list[RefusedLine] = field(default_factory=list[RefusedLine])
    passed: dict[str, int] = field(default_factory=dict[str, int])

    def refuse(self, record: FileRecord, reason: str) -> None:
        """Put a record into the report."""
        text = record.text[:REFUSED_TEXT_BYTES_MAX].decode("utf-8", "backslashreplace")
        self.refused.append(RefusedLine(line=record.number, reason=reason, record=text))

    def tell(self, record: FileRecord, mapped: Mapped) -> None:
        """Count what another system has and we do not; refuse what should have been told."""
        for why, number in mapped.untold.items():
            if why in _PASSED:
                self.passed = count_reason(self.passed, why.value, number)
            else:
                self.refuse(record, why.value)


class ImportService:
    """The use-case behind `import events`."""

    def __init__(
        self, stores: Stores, identify: IdentifyService, audit: AuditLog, clock: Clock
    ) -> None:
        self._stores = stores
        self._publisher = stores.publisher
        self._identify = identify
        self._audit = audit
        self._clock = clock
        self._queues = PersonQueues(stores.streams, stores.publisher)
        self._lag = LogReader(stores.streams, clock, stream=EVENTS_STREAM, durable=EVENTS_DURABLE)

    async def run(
        self,
        order: ImportOrder,
        source: RecordSource,
        journal: Journal,
        *,
        actor: Actor,
        complete: Callable[[], Awaitable[None]],
        told: Callable[[ImportState], None],
    ) -> ImportReport:
        """Import what the journal does not know as done, to the end of the file.

        `complete` is asked where the records end, and raises when the file does not end there.

        Raises NotFoundError for an unknown project, InvalidInputError for a file that cannot be
        read or of which nothing fits, UnavailableError after a long time without room; then the
        same call goes on later.
        """
        started = self._clock.monotonic_seconds()
        if await find_project(self._stores.postgres, order.project_id) is None:
            raise NotFoundError("PROJECT_NOT_FOUND", f"there is no project {order.project_id}")
        resumed_at = journal.state.records
        if resumed_at:
            await asyncio.to_thread(source.skip, resumed_at)
        while parts := await self._read(order, source):
            await self._send(order, parts)
            state = _sum_up(journal.state, parts)
            refused = sorted(
                (line for part in parts for line in part.refused), key=lambda one: one.line
            )
            await asyncio.to_thread(journal.save, state, refused)
            told(state)
            if _is_hopeless(state):
                await asyncio.to_thread(journal.finish)
                raise _nothing_fits(state)
        await complete()
        stored = await self._wait_until_stored()
        state = journal.state
        await asyncio.to_thread(journal.finish)
        report = ImportReport(
            records=state.records,
            events=state.sent,
            people=state.identities,
            refused=state.refused,
            passed=state.passed,
            reasons=state.reasons,
            refused_file=str(journal.report) if state.refused else "",
            resumed_at=resumed_at,
            stored=stored,
            seconds=round(self._clock.monotonic_seconds() - started, 3),
        )
        await self._record(order, report, actor)
        return report

    async def _read(self, order: ImportOrder, source: RecordSource) -> list[_Part]:
        parts: list[_Part] = []
        while len(parts) < BATCHES_AT_ONCE:
            records = await asyncio.to_thread(source.read, BATCH_EVENTS_MAX)
            if not records:
                break
            parts.append(await asyncio.to_thread(sort_records, order, records))
        return parts

    async def _send(self, order: ImportOrder, parts: Sequence[_Part]) -> None:
        await self._wait_for_turn()
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._send_part(order, part))
        except ExceptionGroup as failures:
            for failure in failures.exceptions:
                raise failure from failures

    async def _send_part(self, order: ImportOrder, part: _Part) -> None:
        for identity, occurred_ms in part.people:
            await self._name_patiently(order.project_id, part, identity, occurred_ms)
        bytes_max = await self._publisher.payload_bytes_max()
        position = 0
        for block in await asyncio.to_thread(_encode, order.project_id, part, bytes_max):
            sent = part.events[position : position + block.rows]
            position += block.rows
            await self._patiently(
                lambda body=block.body, events=sent: self._publish(order.project_id, body, events)
            )

    async def _name_patiently(
        self, project_id: str, part: _Part, identity: Identity, occurred_ms: int
    ) -> None:
        try:
            await self._patiently(lambda: self._name(project_id, identity, occurred_ms))
        except InvalidInputError as error:
            part.passed = count_reason(part.passed, error.message[:_REASON_CHARACTERS_MAX])

    async def _publish(self, project_id: str, body: bytes, events: Sequence[CheckedEvent]) -> None:
        await self._publisher.publish(
            EVENTS_SUBJECT,
            body,
            message_id=make_message_id(project_id, events),
            headers={PROJECT_HEADER: project_id},
        )

    async def _name(self, project_id: str, identity: Identity, occurred_ms: int) -> None:
        traits, _ = without_address(identity.traits)
        await self._identify.hand_over(
            Identification(
                project_id=project_id,
                external_id=identity.external_id,
                traits=traits,
                anonymous_id=identity.anonymous_id,
                accepted_at=occurred_ms * _MICROSECONDS,
            )
        )

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step that may be repeated, as often as it takes to get it done."""
        since = self._clock.monotonic_seconds()
        tries = 0
        while True:
            try:
                await step()
            except ApplianceError as error:
                waited = self._clock.monotonic_seconds() - since
                if not error.transient or waited > PATIENCE_SECONDS:
                    raise
                if not tries:
                    _LOG.warning("import_waits", reason=error.reason)
                await asyncio.sleep(_PAUSE_SECONDS[min(tries, len(_PAUSE_SECONDS) - 1)])
                tries += 1
            else:
                return

    async def _wait_for_turn(self) -> None:
        """Wait until few messages are unstored; raises UnavailableError when nothing moves."""
        least = None
        since = self._clock.monotonic_seconds()
        while True:
            waiting = await self._count_waiting()
            if waiting is not None and waiting <= BACKLOG_MESSAGES_MAX:
                return
            now = self._clock.monotonic_seconds()
            if waiting is not None and (least is None or waiting < least):
                least, since = waiting, now
            if now - since > PATIENCE_SECONDS:
                raise _stuck()
            await asyncio.sleep(_POLL_SECONDS)

    async def _count_waiting(self) -> int | None:
        try:
            lag = await self._lag.lag()
        except UnavailableError:
            return None
        return lag.pending + lag.unacknowledged

    async def _wait_until_stored(self) -> bool:
        """Whether the events worker came to the end of what is on the queue now, in good time."""
        mark = (await self._queues.mark()).events

        async def passed() -> bool | None:
            try:
                return await self._queues.events_passed(mark) or None
            except UnavailableError:
                return None

        return bool(
            await poll(passed, every_seconds=_POLL_SECONDS, timeout_seconds=PATIENCE_SECONDS)
        )

    async def _record(self, order: ImportOrder, report: ImportReport, actor: Actor) -> None:
        async with self._stores.postgres.transaction() as transaction:
            await self._audit.record(
                transaction,
                actor,
                "project.events.import",
                project_id=order.project_id,
                details={
                    "file": order.file,
                    "events": str(report.events),
                    "refused": str(report.refused),
                },
            )


def sort_records(order: ImportOrder, records: Sequence[FileRecord]) -> _Part:
    """What of these records is sent, and what is not and why."""
    part = _Part(records=len(records))
    events: list[Event] = []
    origins: list[FileRecord] = []
    for record in records:
        if record.problem:
            part.refuse(record, record.problem)
        elif record.record is not None:
            try:
                found = _convert(order, record.record)
            except Refused as refusal:
                part.refuse(record, str(refusal))
                continue
            events.extend(found.mapped.events)
            origins.extend([record] * len(found.mapped.events))
            part.people.extend((one, found.occurred_ms) for one in found.mapped.identities)
            part.tell(record, found.mapped)
    for start in range(0, len(events), BATCH_EVENTS_MAX):
        batch = events[start : start + BATCH_EVENTS_MAX]
        for place, verdict in enumerate(accept_events(order.project_id, batch), start):
            if isinstance(verdict, str):
                part.refuse(origins[place], verdict)
            else:
                part.events.append(verdict)
                part.origins.append(origins[place])
    return part


def _convert(order: ImportOrder, record: Record) -> Told:
    match order.system:
        case System.POSTHOG:
            return read_posthog(order.project_id, record)
        case System.SEGMENT:
            return read_segment(order.project_id, record)
        case System.PUG:
            event = read_record(order.project_id, record, order.columns)
            assert event.occur_time_ms is not None
            return Told(mapped=Mapped(events=(event,)), occurred_ms=event.occur_time_ms)
        case _:
            assert_never(order.system)


def _encode(project_id: str, part: _Part, bytes_max: int) -> tuple[Block, ...]:
    """The messages of a part; events that no message can hold go to the refused ones."""
    try:
        return encode_blocks(project_id, part.events, bytes_max=bytes_max)
    except InvalidInputError:
        _refuse_oversized(project_id, part, bytes_max)
    return encode_blocks(project_id, part.events, bytes_max=bytes_max)


def _refuse_oversized(project_id: str, part: _Part, bytes_max: int) -> None:
    fitting: list[CheckedEvent] = []
    for event, origin in zip(part.events, part.origins, strict=True):
        if len(encode_rows(project_id, [event])) > bytes_max:
            part.refuse(origin, f"the event is larger than {bytes_max} bytes when stored")
        else:
            fitting.append(event)
    part.events = fitting


def _sum_up(state: ImportState, parts: Sequence[_Part]) -> ImportState:
    passed, reasons = state.passed, state.reasons
    for part in parts:
        for name, number in part.passed.items():
            passed = count_reason(passed, name, number)
        for line in part.refused:
            reasons = count_reason(reasons, line.reason[:_REASON_CHARACTERS_MAX])
    return structs.replace(
        state,
        records=state.records + sum(part.records for part in parts),
        sent=state.sent + sum(len(part.events) for part in parts),
        identities=state.identities + sum(len(part.people) for part in parts),
        refused=state.refused + sum(len(part.refused) for part in parts),
        passed=passed,
        reasons=reasons,
    )


def _is_hopeless(state: ImportState) -> bool:
    return not state.sent and not state.identities and state.refused >= HOPELESS_LINES


def _nothing_fits(state: ImportState) -> InvalidInputError:
    reason = max(state.reasons, key=lambda name: state.reasons[name])
    return InvalidInputError(
        "NOTHING_FITS",
        f"none of the first {state.records} lines is an event: {reason}",
        hint="check --from, --format and --map",
    )


def _stuck() -> UnavailableError:
    return UnavailableError(
        "WORKER_STUCK",
        "the events worker stores nothing",
        hint="see `pug-appliance status`; the same command goes on where it stopped",
    )
