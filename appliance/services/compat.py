"""Takes what the clients of other products sent, already in our words, and has it kept.

Invariant: returning means that everything that could be told is on the queue's disk; anything else
is an error after which the client sends all of it again, which counts nothing twice: events and
identities go the way of our own clients, with ids that a repetition has again [compat-ingest 4].
The words are found in `domain/compat/`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import InvalidInputError
from appliance.domain.compat.mapped import Identity, Mapped
from appliance.domain.ingest.event import Batch, Event
from appliance.domain.ingest.facts import RequestFacts
from appliance.domain.ingest.validate import EVENTS_MAX
from appliance.domain.people.messages import Identification, micros_of

REFUSED: Final = "compat.calls_refused_total"
_TRAITS: Final = "unusable_traits"
_NOBODY: Final = "no_identity"

_LOG: Final = structlog.stdlib.get_logger()


class Project(Protocol):
    """Whose calls these are."""

    @property
    def project_id(self) -> str: ...

    @property
    def timezone(self) -> str: ...


class _Receipt(Protocol):
    @property
    def accepted(self) -> int: ...

    @property
    def dropped(self) -> int: ...


class Ingest(Protocol):
    """Where events go: `services/ingest.py`."""

    async def accept(self, principal: Project, batch: Batch, facts: RequestFacts, /) -> _Receipt:
        """Check, enrich and hand over a batch; returning means it is safe."""
        ...


class Identify(Protocol):
    """Where identities go: `services/identify.py`."""

    async def hand_over(self, call: Identification, /) -> None:
        """Put one on the queue; returning means it is safe."""
        ...


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a request: events kept, identities kept, calls refused."""

    accepted: int
    identified: int
    refused: int


class CompatService:
    """The use-case behind every endpoint of other products; `counts` is what the metrics show."""

    def __init__(self, ingest: Ingest, identify: Identify, clock: Clock) -> None:
        self._ingest = ingest
        self._identify = identify
        self._clock = clock
        self.counts: Counter[tuple[str, str]] = Counter()

    async def accept(self, principal: Project, mapped: Mapped, facts: RequestFacts) -> Outcome:
        """Have events and identities kept; raises as `IngestService.accept` does.

        Address and user agent of a server say nothing about a visitor and are left out.
        """
        told = RequestFacts() if mapped.from_server else facts
        refused: Counter[str] = Counter({why.value: n for why, n in mapped.untold.items()})
        accepted = 0
        known = [event for event in mapped.events if not event.cookieless]
        for start in range(0, len(known), EVENTS_MAX):
            accepted += await self._events(principal, known[start : start + EVENTS_MAX], told)
        unknown = [event for event in mapped.events if event.cookieless]
        for start in range(0, len(unknown), EVENTS_MAX):
            part = unknown[start : start + EVENTS_MAX]
            try:
                accepted += await self._events(principal, part, told)
            except InvalidInputError as error:  # nobody to be told from others
                _LOG.debug("cookieless_calls_refused", reason=error.reason)
                refused[_NOBODY] += len(part)
        kept = await self._identities(principal.project_id, mapped.identities)
        refused[_TRAITS] += len(mapped.identities) - kept
        for why, number in refused.items():
            self.counts[REFUSED, why] += number
        return Outcome(accepted=accepted, identified=kept, refused=refused.total())

    async def _events(
        self, principal: Project, events: Sequence[Event], facts: RequestFacts
    ) -> int:
        receipt = await self._ingest.accept(principal, Batch(events=tuple(events)), facts)
        return receipt.accepted

    async def _identities(self, project_id: str, identities: Sequence[Identity]) -> int:
        """How many could be kept.

        The latest value of a trait stands, so each is later than the one before it. One that counts
        only where there is none yet is given as from before 1970, the later the earlier: so the
        first of several stands, and any other goes before it (decision 0023).
        """
        now = micros_of(self._clock.now())
        kept = 0
        for number, identity in enumerate(identities):
            call = Identification(
                project_id=project_id,
                external_id=identity.external_id,
                traits=identity.traits,
                anonymous_id=identity.anonymous_id,
                accepted_at=-(now + number) if identity.once else now + number,
            )
            kept += await self._identity(call)
        return kept

    async def _identity(self, call: Identification) -> bool:
        """Whether it can be kept at all: traits larger than a message never can."""
        try:
            await self._identify.hand_over(call)
        except InvalidInputError as error:
            _LOG.info("identity_refused", reason=error.reason)
            return False
        return True
