"""The declarative rules of a batch: all violations, or a checked batch [ingestion 2, 3].

Invariant: one violation refuses the whole batch, and every violation of the first
`EVENTS_MAX` events is listed (up to `VIOLATIONS_MAX`). Paths are dotted proto names without
indexes and keys. What comes out of `check_batch` needs no second look: see `event.CheckedEvent`.
"""

import math
import re
from typing import Final

from appliance.base.errors import InvalidInputError, Violation
from appliance.domain.ingest.event import Batch, Broken, CheckedEvent, Event, Properties

EVENTS_MAX: Final = 1000
TEXT_CHARACTERS_MAX: Final = 1024
VIOLATIONS_MAX: Final = 1000
COOKIELESS_PREFIX: Final = "cookieless-"
"""What every derived identity starts with, and no sent one may [ingestion 2, 4.4]."""

_UUID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)
_KIND_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"


def check_batch(batch: Batch) -> tuple[CheckedEvent, ...]:
    """The events of a batch that breaks no rule, in order.

    Raises InvalidInputError with all violations, or with reason INVALID_EVENT_BATCH when two
    events carry the same id [ingestion 2, 3].
    """
    violations = validate_batch(batch)
    if violations:
        raise InvalidInputError(
            "INVALID_ARGUMENT",
            f"the batch breaks {len(violations)} rule(s), the first at "
            f"{violations[0].field or 'the request'}: {violations[0].description}",
            violations=violations,
        )
    refuse_duplicates(batch)
    return tuple(map(checked_event, batch.events))


def validate_batch(batch: Batch) -> tuple[Violation, ...]:
    """Every rule that a request breaks [ingestion 2]; empty when it is fine."""
    violations: list[Violation] = []
    _require_boundary(batch, violations)
    _require_events(batch, violations)
    return tuple(violations[:VIOLATIONS_MAX])


def validate_envelope(project_id: str | None, batch: Batch) -> tuple[Violation, ...]:
    """The rules of a batch after identities were resolved: those of a request without the two that
    only hold at the boundary, and with a project [ingestion 2].
    """
    violations: list[Violation] = []
    if project_id is None:
        violations.append(Violation(field="project_id", description="is required"))
    elif not project_id:
        violations.append(Violation(field="project_id", description="must not be empty"))
    _require_events(batch, violations)
    return tuple(violations[:VIOLATIONS_MAX])


def refuse_duplicates(batch: Batch) -> None:
    """Raise InvalidInputError when two events carry the same id, letter by letter [ingestion 3]."""
    seen: set[str | None] = {event.event_id for event in batch.events}
    if len(seen) == len(batch.events):
        return
    seen = set()
    for index, event in enumerate(batch.events):
        if event.event_id in seen:
            raise InvalidInputError(
                "INVALID_EVENT_BATCH",
                f"event {index} repeats the event_id {event.event_id} of an earlier event",
            )
        seen.add(event.event_id)


def _require_boundary(batch: Batch, violations: list[Violation]) -> None:
    if any(event.cookieless and (event.distinct_id or event.session_id) for event in batch.events):
        violations.append(
            Violation(
                field="",
                description="a cookieless event carries no distinct_id and no session_id",
            )
        )
    if any(
        event.distinct_id and event.distinct_id.startswith(COOKIELESS_PREFIX)
        for event in batch.events
    ):
        violations.append(
            Violation(field="", description=f"no distinct_id starts with {COOKIELESS_PREFIX}")
        )


def _require_events(batch: Batch, violations: list[Violation]) -> None:
    if len(batch.events) > EVENTS_MAX:
        violations.append(
            Violation(field="events", description=f"holds at most {EVENTS_MAX} events")
        )
    for event in batch.events[:EVENTS_MAX]:
        _require_event(event, violations)
        if len(violations) >= VIOLATIONS_MAX:
            return


def _require_event(event: Event, violations: list[Violation]) -> None:
    if not event.cookieless and not (event.distinct_id and event.session_id):
        _violate(violations, "", "needs distinct_id and session_id unless it is cookieless")
    for key in event.auto_properties:
        if key[:1] != "$":
            _violate(violations, "", "every key of auto_properties starts with $")
            break
    for key in event.custom_properties:
        if key[:1] == "$":
            _violate(violations, "", "no key of custom_properties starts with $")
            break
    event_id, kind, session_id = event.event_id, event.kind, event.session_id
    if event_id is None or not _UUID.fullmatch(event_id):
        _violate(violations, "event_id", _uuid_complaint(event_id))
    if not kind or kind.strip(_KIND_LETTERS):
        _violate(
            violations,
            "kind",
            "is required" if kind is None else "is one or more of A-Z a-z 0-9 _ . -",
        )
    if event.occur_time_ms is None:
        _violate(violations, "occur_time", "is required")
    if session_id is not None and not _UUID.fullmatch(session_id):
        _violate(violations, "session_id", _uuid_complaint(session_id))
    _require_values(event.auto_properties, "auto_properties", violations)
    _require_values(event.custom_properties, "custom_properties", violations)


def _require_values(properties: Properties, name: str, violations: list[Violation]) -> None:
    for value in properties.values():
        kind = type(value)
        if kind is str:
            if len(value) > TEXT_CHARACTERS_MAX:  # pyright: ignore[reportArgumentType] kind is str
                _violate(
                    violations,
                    f"{name}.string_value",
                    f"has at most {TEXT_CHARACTERS_MAX} characters",
                )
        elif kind is float:
            if not math.isfinite(value):  # pyright: ignore[reportArgumentType] kind is float
                _violate(violations, f"{name}.double_value", "is a finite number")
        elif kind is Broken:
            _violate(violations, f"{name}.value", "has exactly one variant")


def _uuid_complaint(text: str | None) -> str:
    return "is required" if text is None else "is a UUID of the form 8-4-4-4-12"


def _violate(violations: list[Violation], name: str, description: str) -> None:
    field = f"events.{name}" if name else "events"
    violations.append(Violation(field=field, description=description))


def checked_event(event: Event) -> CheckedEvent:
    """An event that breaks no rule, with everything required in place."""
    assert event.event_id is not None
    assert event.kind is not None
    assert event.occur_time_ms is not None
    return CheckedEvent(
        event_id=event.event_id,
        kind=event.kind,
        occur_time_ms=event.occur_time_ms,
        distinct_id=event.distinct_id or "",
        session_id=event.session_id or "",
        cookieless=event.cookieless,
        auto_properties=event.auto_properties,
        custom_properties=event.custom_properties,
    )
