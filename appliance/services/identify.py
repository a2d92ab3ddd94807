"""Takes a call that names a person and puts it safely on the queue [profiles 2.1].

Invariant: returning means that the call is on the queue's disk; anything else is an error after
which the client calls again, and a call that comes twice does no harm. What it means is decided by
the worker, see `services/merging.py`. A caller's network address in the traits goes no further.
"""

from collections import Counter
from typing import Final, Protocol

from appliance.base.clock import Clock
from appliance.base.errors import InvalidInputError, Violation
from appliance.domain.people.messages import Identification, identify_message, micros_of
from appliance.domain.people.traits import Properties, without_address
from appliance.storage.streams.people import IDENTIFY_SUBJECT
from appliance.storage.streams.publish import PROJECT_HEADER, Publisher

EXTERNAL_ID_BYTES_MAX: Final = 2048
"""An entry of PostgreSQL's index must fit into a third of a page."""
ADDRESSES_STRIPPED: Final = "profiles.identify_ip_stripped_total"


class Project(Protocol):
    """Whose person it is."""

    @property
    def project_id(self) -> str: ...


class IdentifyService:
    """The use-case behind `Identify`; `counts` is what the metrics show [workers 7.4]."""

    def __init__(self, publisher: Publisher, clock: Clock) -> None:
        self._publisher = publisher
        self._clock = clock
        self.counts: Counter[tuple[str, str]] = Counter()

    async def accept(
        self,
        principal: Project,
        *,
        external_id: str,
        traits: Properties,
        anonymous_id: str = "",
        device_id: str = "",
    ) -> None:
        """Hand over a call of now.

        Raises InvalidInputError for what can never be stored, UnavailableError without the queue's
        acknowledgement or room on the disk, ExhaustedError when the queue is full.
        """
        kept, stripped = without_address(traits)
        call = Identification(
            project_id=principal.project_id,
            external_id=external_id,
            traits=kept,
            anonymous_id=anonymous_id,
            device_id=device_id,
            accepted_at=micros_of(self._clock.now()),
        )
        await self.hand_over(call)
        if stripped:
            self.counts[ADDRESSES_STRIPPED, ""] += 1

    async def hand_over(self, call: Identification) -> None:
        """Put a call on the queue, its traits as they are; raises as `accept` does."""
        self._publisher.require_room()
        _require_storable(call)
        payload = identify_message(call).to_binary()
        if len(payload) > await self._publisher.payload_bytes_max():
            raise _refusal(Violation(field="traits", description="are too large"))
        await self._publisher.publish(
            IDENTIFY_SUBJECT, payload, message_id=None, headers={PROJECT_HEADER: call.project_id}
        )


def _require_storable(call: Identification) -> None:
    """What no store takes is found out here, not by a dead letter."""
    ids = {
        "external_id": call.external_id,
        "anonymous_id": call.anonymous_id,
        "device_id": call.device_id,
    }
    for field, value in ids.items():
        if "\0" in value:
            raise _refusal(Violation(field=field, description="holds U+0000"))
    if len(call.external_id.encode()) > EXTERNAL_ID_BYTES_MAX:
        what = f"has at most {EXTERNAL_ID_BYTES_MAX} bytes"
        raise _refusal(Violation(field="external_id", description=what))


def _refusal(violation: Violation) -> InvalidInputError:
    return InvalidInputError(
        "INVALID_ARGUMENT",
        f"{violation.field} {violation.description}",
        violations=(violation,),
    )
