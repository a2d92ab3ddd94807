"""Takes a decoded batch: checks it, gives it identity, enriches it and puts it safely on the queue.

Invariant: returning means that every kept event is on the queue's disk; anything else is an error
after which the client sends the whole batch again. The message id is made of the events'
identities, not of bytes or time, so a repeated batch is one message however often it comes
[ingestion 10, 13]. The pure steps are in `domain/ingest/chain.py`.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.domain.ingest.chain import ENRICHMENT, Draft, run_steps
from appliance.domain.ingest.event import Batch, CheckedEvent
from appliance.domain.ingest.facts import RequestFacts
from appliance.domain.ingest.rows import encode_blocks
from appliance.domain.ingest.validate import check_batch
from appliance.services.allowances import Allowances
from appliance.services.cookieless import IDENTITY_UNAVAILABLE, CookielessIdentities
from appliance.services.places import Places
from appliance.services.queue_room import QueueRoom
from appliance.storage.streams.errors import QUEUE_FULL
from appliance.storage.streams.publish import EVENTS_SUBJECT, PROJECT_HEADER, Publisher

_MINUTE_MS: Final = 60_000
_DROPPED: Final = "events.cookieless_dropped_total"
_SOURCES: Final = "events.cookieless_identity_source_total"
_REFUSALS: Final = frozenset({"RATE_LIMITED", "QUOTA_EXCEEDED", QUEUE_FULL})
"""Reasons of refusals that are counted here; that of the disk is counted in `room.py`."""


class Project(Protocol):
    """Whose events these are."""

    @property
    def project_id(self) -> str: ...


class Receipt(Struct, frozen=True, kw_only=True):
    """What became of a batch; `accepted + dropped` is the number sent [ingestion 11]."""

    accepted: int
    dropped: int = 0
    dropped_by_reason: dict[str, int] = {}


class IngestService:
    """The use-case behind `BatchCreate`; `counts` is what the metrics show [ingestion 15]."""

    def __init__(
        self,
        publisher: Publisher,
        identities: CookielessIdentities,
        places: Places,
        *,
        clock: Clock,
        allowances: Allowances,
        room: QueueRoom,
    ) -> None:
        self._publisher = publisher
        self._allowances = allowances
        self._room = room
        self._identities = identities
        self._places = places
        self._clock = clock
        self.counts: Counter[tuple[str, str]] = Counter()

    def admit(self, principal: Project) -> None:
        """Return when a batch of this project would be taken; asked before its body is read.

        Raises UnavailableError without room on the disk or in the queue, ExhaustedError over a
        limit.
        """
        try:
            self._require_room()
            self._allowances.require(principal.project_id)
        except ApplianceError as error:
            self._count_refusal(error)
            raise

    async def accept(self, principal: Project, batch: Batch, facts: RequestFacts) -> Receipt:
        """Check, enrich and hand over a batch.

        Raises InvalidInputError with every violation, UnavailableError without the queue's
        acknowledgement or room on the disk or in the queue, ExhaustedError over a limit.
        """
        checked = check_batch(batch)
        if not checked:
            return Receipt(accepted=0)
        try:
            self._require_room()
            self._allowances.charge(principal.project_id, len(checked))
        except ApplianceError as error:
            self._count_refusal(error)
            raise
        draft = await self._resolve(principal.project_id, checked, facts)
        if draft.events:
            place = await self._places.of(facts)
            told = replace(facts, place=place) if place else facts
            draft = run_steps(ENRICHMENT, draft, told, clock=self._clock).draft
            await self._hand_over(principal.project_id, draft.events)
        self._count(draft)
        dropped = {reason.value: number for reason, number in draft.dropped.items() if number}
        return Receipt(
            accepted=len(draft.events),
            dropped=sum(dropped.values()),
            dropped_by_reason=dropped,
        )

    def _require_room(self) -> None:
        self._publisher.require_room()
        self._room.require()

    async def _resolve(
        self, project_id: str, checked: tuple[CheckedEvent, ...], facts: RequestFacts
    ) -> Draft:
        try:
            resolution = await self._identities.resolve(project_id, checked, facts)
        except InvalidInputError as error:
            if error.reason == IDENTITY_UNAVAILABLE:
                self.counts[_DROPPED, "identity_headers_missing"] += len(checked)
                self.counts[_SOURCES, error.fields["source"]] += 1
            raise
        if resolution.source is not None:
            self.counts[_SOURCES, resolution.source.value] += 1
            salts = self._identities.salts
            self.counts["cookieless.salt_cache_hit_total", ""] = salts.hits
            self.counts["cookieless.salt_cache_miss_total", ""] = salts.misses
        for degraded, number in resolution.degraded.items():
            self.counts["events.cookieless_session_degraded_total", degraded.value] += number
        return resolution.draft

    async def _hand_over(self, project_id: str, events: Sequence[CheckedEvent]) -> None:
        bytes_max = await self._publisher.payload_bytes_max()
        position = 0
        for block in encode_blocks(project_id, events, bytes_max=bytes_max):
            sent = events[position : position + block.rows]
            position += block.rows
            try:
                fresh = await self._publisher.publish(
                    EVENTS_SUBJECT,
                    block.body,
                    message_id=make_message_id(project_id, sent),
                    headers={PROJECT_HEADER: project_id},
                )
            except ApplianceError as error:
                if error.reason == QUEUE_FULL:  # the queue's own bound, met between two looks
                    self._room.note_full()
                self._count_refusal(error)
                raise
            if fresh:
                self._allowances.note(project_id, len(sent))

    def _count_refusal(self, error: ApplianceError) -> None:
        if error.reason in _REFUSALS:
            self.counts["ingest.refused_total", error.reason.lower()] += 1

    def _count(self, draft: Draft) -> None:
        for count, number in draft.counts.items():
            self.counts[count.metric, count.label] += number
        for reason, number in draft.dropped.items():
            self.counts[_DROPPED, reason.value] += number
        self.counts["events.accepted_total", ""] += len(draft.events)


def make_message_id(project_id: str, events: Sequence[CheckedEvent]) -> str:
    """The id under which the queue knows these events: the same for the same identities."""
    identities = sorted(
        f"{event.event_id.lower()} {event.kind} {event.occur_time_ms // _MINUTE_MS}"
        for event in events
    )
    text = "\n".join((project_id, *identities))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
