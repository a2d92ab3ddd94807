"""Which events of a file may be stored, and what is derived for them.

Invariant: the rules are those of a batch that comes in over HTTP after its identities are known
[ingestion 2], but one bad line refuses itself only. What the file says stands: geography, user
agent and bot signs were found when the event happened, so only what follows from the event's own
properties is added, and only where the file has nothing. Addresses are never kept.
"""

from collections.abc import Sequence
from typing import Final

from appliance.domain.ingest.attribution import attribute
from appliance.domain.ingest.event import Batch, CheckedEvent, Event, Properties
from appliance.domain.ingest.validate import checked_event, validate_envelope

BATCH_EVENTS_MAX: Final = 1000
_DERIVED_ANEW: Final = ("$channel", "$referrerDomain")
_FIELD_PREFIX: Final = "events."


def accept_events(project_id: str, events: Sequence[Event]) -> list[CheckedEvent | str]:
    """For each event, in order: what is stored, or why it cannot be."""
    assert len(events) <= BATCH_EVENTS_MAX, "a batch is bounded"
    if not validate_envelope(project_id, Batch(events=tuple(events))):
        return [_complete(event) for event in events]
    return [_accept_one(project_id, event) for event in events]


def _accept_one(project_id: str, event: Event) -> CheckedEvent | str:
    violations = validate_envelope(project_id, Batch(events=(event,)))
    if not violations:
        return _complete(event)
    return "; ".join(
        f"{one.field.removeprefix(_FIELD_PREFIX)} {one.description}" for one in violations[:3]
    )


def _complete(event: Event) -> CheckedEvent:
    properties = event.auto_properties
    properties.pop("$ip", None)
    told: Properties = {
        key: properties[key] for key in _DERIVED_ANEW if properties.get(key) is not None
    }
    attribute(properties)
    properties.update(told)
    return checked_event(event)
