"""Carrying an erasure out: freeze who is meant, delete, wait for the queue, delete again.

Invariant: the ids are in the ledger and in the journal before anything is deleted, so an attempt
that is killed anywhere is done again with the same ids. A request is completed only after the queue
has passed what was on it when the ids were frozen and everything found after that is deleted too:
nothing that was accepted before reappears (decision 0024). Doing any step twice is harmless.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import structlog

from appliance.base.clock import Clock
from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    InvalidInputError,
    UnavailableError,
)
from appliance.base.tasks import poll
from appliance.domain.people.erasure import (
    ErasureReceipt,
    ErasureStatus,
    ErasureView,
    QueueMarks,
    Subject,
    Traces,
    short_error,
    unite_ids,
)
from appliance.services.erasure import publish_erasure, request_not_found
from appliance.services.erasure_cleaning import Cleaned, PersonCleaner
from appliance.services.erasure_journal import ErasureJournal, JournalEntry
from appliance.services.person_ids import resolve_person
from appliance.services.stores import Stores
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.erasure import (
    count_events,
    count_traces,
    delete_person,
    find_sessions,
)
from appliance.storage.postgres.erasure import (
    complete_erasure,
    count_person_rows,
    delete_person_rows,
    fail_erasure,
    find_completed,
    freeze_erasure,
    load_erasure,
    reopen_erasure,
    restore_erasure,
)
from appliance.storage.postgres.purge import StuckErasure
from appliance.storage.streams.erasure import (
    IDENTIFY_SUBJECT,
    PROFILE_CONSUMERS,
    PersonQueues,
)
from appliance.storage.streams.publish import Publisher

WAIT_SECONDS_MAX: Final = 180.0
"""How long one attempt waits for the queue; then the message comes again later."""
WAIT_EVERY_SECONDS: Final = 0.25
SWEEPS_MAX: Final = 5
"""Sweeps of one attempt; a profile that appears in the last one is newer than the request."""

_LOG: Final = structlog.stdlib.get_logger()


class Eraser:
    """Erases persons, one request at a time or several side by side.

    `events` is a patient connection to the event store: a deletion rewrites parts.
    """

    def __init__(
        self,
        stores: Stores,
        events: ClickHouse,
        journal: ErasureJournal,
        clock: Clock,
        *,
        wait_seconds_max: float = WAIT_SECONDS_MAX,
    ) -> None:
        self._database = stores.postgres
        self._events = events
        self._journal = journal
        self._clock = clock
        self._publisher = Publisher(stores.streams)
        self._queues = PersonQueues(stores.streams, self._publisher)
        self._cleaner = PersonCleaner(self._queues)
        self._wait_seconds_max = wait_seconds_max

    async def erase(self, request_id: str) -> None:
        """Carry a request out; one that is completed already is left alone.

        Raises NotFoundError for a request that is not in the ledger, InvalidInputError for one that
        names nobody, UnavailableError when a store is away or the queue does not get on.
        """
        view = await load_erasure(self._database, request_id)
        if view is None:
            raise request_not_found(request_id)
        if view.status is ErasureStatus.COMPLETED:
            return
        if view.status is ErasureStatus.FAILED:
            await reopen_erasure(self._database, request_id)
        view = await self._freeze(view)
        assert view.marks is not None
        await self._sweep(view)
        await self._until_stored(view.marks)
        view = await self._sweep_until_nothing_new(view)
        await self._close(view, await self._clean(view))

    async def give_up(self, request_id: str, cause: str) -> None:
        """Set an open request to failed; losing this leaves it open, which asking again mends."""
        try:
            await fail_erasure(self._database, request_id, short_error(cause))
        except ApplianceError as error:
            _LOG.warning("erasure_not_failed", request_id=request_id, reason=error.reason)

    async def resume_from_journal(self) -> int:
        """Ask again for what the journal has and the ledger does not know as done; how many.

        That is so after the stores came back older: the erased are there again.
        """
        count = 0
        entries = await self._journal.entries()
        done = await find_completed(self._database, [one.request_id for one in entries])
        for entry in entries:
            if entry.request_id in done:
                continue
            try:
                reopened = await restore_erasure(
                    self._database,
                    request_id=entry.request_id,
                    project_id=entry.project_id,
                    profile_id=entry.profile_id,
                    external_id=entry.external_id,
                    distinct_ids=entry.distinct_ids,
                    events=entry.events,
                    requested_at=entry.requested_at,
                    also_failed=entry.completed,
                )
            except ConflictError:
                continue  # an open request names the same person
            if reopened:
                count += 1
                await publish_erasure(self._publisher, _message(entry))
        return count

    async def _freeze(self, view: ErasureView) -> ErasureView:
        """Keep who is meant, where the queue stands, and what there is; unless that is kept."""
        first = view.session_ids is None
        ids = view.distinct_ids or await self._resolve(view, ())
        if not ids:
            raise InvalidInputError("NOBODY_NAMED", "the request names nobody")
        sessions = unite_ids(
            view.session_ids or (), await find_sessions(self._events, view.project_id, ids)
        )
        events = view.events_affected
        if first:
            events = await count_events(self._events, view.project_id, ids)
        found = view.receipt or ErasureReceipt(
            found=await self._count(view.project_id, ids, sessions), remaining=Traces()
        )
        return await self._keep(
            msgspec.structs.replace(
                view,
                distinct_ids=ids,
                session_ids=sessions,
                events_affected=events,
                marks=view.marks or await self._queues.mark(),
                receipt=found,
            )
        )

    async def _keep(self, view: ErasureView) -> ErasureView:
        """Put what is frozen into ledger and journal; raises NotFoundError when the row is gone."""
        assert view.distinct_ids is not None
        assert view.session_ids is not None
        assert view.marks is not None
        assert view.receipt is not None
        if not await freeze_erasure(
            self._database,
            view.id,
            distinct_ids=view.distinct_ids,
            session_ids=view.session_ids,
            events=view.events_affected,
            marks=view.marks,
            receipt=view.receipt,
        ):
            raise request_not_found(view.id)
        await self._note(view, completed=False)
        return view

    async def _sweep(self, view: ErasureView) -> int:
        """Delete everything of the frozen ids; how many profiles were there."""
        assert view.distinct_ids is not None
        assert view.session_ids is not None
        profiles = await delete_person_rows(self._database, view.project_id, view.distinct_ids)
        async for rows in delete_person(
            self._events, view.project_id, view.distinct_ids, view.session_ids
        ):
            _LOG.debug("rows_erased", request_id=view.id, rows=rows)
        return profiles

    async def _sweep_until_nothing_new(self, view: ErasureView) -> ErasureView:
        """Delete what the queue brought, also under ids that it brought.

        A profile that was made meanwhile has messages of its own on the way to the read side.
        """
        for _ in range(SWEEPS_MAX):
            view = await self._widen(view)
            if not await self._sweep(view):
                break
            marks = await self._queues.mark()
            await self._until_profiles(marks)
        return view

    async def _widen(self, view: ErasureView) -> ErasureView:
        """Take in the ids and sessions that were not there when the request was frozen."""
        assert view.distinct_ids is not None
        assert view.session_ids is not None
        assert view.receipt is not None
        ids = await self._resolve(view, view.distinct_ids)
        fresh = await find_sessions(self._events, view.project_id, ids)
        sessions = unite_ids(view.session_ids, fresh)
        sweeps = msgspec.structs.replace(view.receipt, sweeps=view.receipt.sweeps + 1)
        return await self._keep(
            msgspec.structs.replace(view, distinct_ids=ids, session_ids=sessions, receipt=sweeps)
        )

    async def _resolve(self, view: ErasureView, known: Sequence[str]) -> tuple[str, ...]:
        return await resolve_person(
            self._database,
            self._events,
            view.project_id,
            profile_id=view.profile_id,
            external_id=view.external_id,
            known=known,
        )

    async def _count(self, project_id: str, ids: Sequence[str], sessions: Sequence[str]) -> Traces:
        traces = await count_traces(self._events, project_id, ids, sessions)
        profiles, devices = await count_person_rows(self._database, project_id, ids)
        return msgspec.structs.replace(traces, profiles=profiles, devices=devices)

    async def _until_stored(self, marks: QueueMarks) -> None:
        """Wait until everything that was on the queue is where a sweep finds it."""
        await self._wait_for("events", lambda: self._queues.events_passed(marks.events))
        await self._until_profiles(marks)

    async def _until_profiles(self, marks: QueueMarks) -> None:
        """Identify messages first: handling one puts others on the queue, behind the mark."""
        await self._wait_for(
            "identify", lambda: self._queues.profiles_passed(marks.profiles, IDENTIFY_SUBJECT)
        )
        later = (await self._queues.mark()).profiles
        for subject in PROFILE_CONSUMERS:
            if subject != IDENTIFY_SUBJECT:
                await self._wait_for(
                    subject, lambda name=subject: self._queues.profiles_passed(later, name)
                )

    async def _wait_for(self, what: str, question: Callable[[], Awaitable[bool]]) -> None:
        async def passed() -> bool | None:
            return await question() or None

        if not await poll(
            passed, every_seconds=WAIT_EVERY_SECONDS, timeout_seconds=self._wait_seconds_max
        ):
            raise UnavailableError(
                "QUEUE_BEHIND", f"the queue still holds what was sent before ({what})"
            )

    async def _clean(self, view: ErasureView) -> Cleaned:
        assert view.marks is not None
        return await self._cleaner.clean(_subject(view), view.marks)

    async def _close(self, view: ErasureView, cleaned: Cleaned) -> None:
        """Write down that it is done, the journal first."""
        assert view.distinct_ids is not None
        assert view.session_ids is not None
        assert view.receipt is not None
        removed = msgspec.structs.replace(
            view.receipt.found, queued=cleaned.queued, dead_letters=cleaned.dead_letters
        )
        receipt = msgspec.structs.replace(
            view.receipt,
            found=removed,
            remaining=await self._count(view.project_id, view.distinct_ids, view.session_ids),
            mixed_messages=cleaned.mixed,
        )
        await self._note(view, completed=True)
        now = self._clock.now()
        if not await complete_erasure(self._database, view.id, receipt=receipt, now=now):
            raise ApplianceError("INTERNAL", "the ledger does not hold the request any more")
        _LOG.info("person_erased", request_id=view.id, project_id=view.project_id)

    async def _note(self, view: ErasureView, *, completed: bool) -> None:
        await self._journal.append(
            JournalEntry(
                at=self._clock.now(),
                request_id=view.id,
                project_id=view.project_id,
                profile_id=view.profile_id,
                external_id=view.external_id,
                distinct_ids=view.distinct_ids or (),
                events=view.events_affected,
                requested_at=view.requested_at,
                completed=completed,
            )
        )


def _message(entry: JournalEntry) -> StuckErasure:
    return StuckErasure(
        id=entry.request_id,
        project_id=entry.project_id,
        profile_id=entry.profile_id,
        external_id=entry.external_id,
    )


def _subject(view: ErasureView) -> Subject:
    return Subject(
        project_id=view.project_id,
        profile_id=view.profile_id,
        external_id=view.external_id,
        distinct_ids=view.distinct_ids or (),
    )
