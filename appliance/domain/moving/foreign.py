"""Exports of PostHog and Segment, record by record, as what their clients would have sent.

Invariant: what a record becomes is decided in `domain/compat/`, the same as over HTTP, so an event
that came in both ways is one event. A record without a time of its own is refused: the time of the
import would make it another event at every repetition.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.domain.compat.mapped import Mapped, Reception
from appliance.domain.compat.posthog import map_posthog
from appliance.domain.compat.reading import read_instant
from appliance.domain.compat.segment import map_segment
from appliance.domain.ingest.slots import instant_text
from appliance.domain.moving.values import Refused, read_time


class System(StrEnum):
    """Whose export a file is."""

    PUG = "pug"
    POSTHOG = "posthog"
    SEGMENT = "segment"


_EVENTS_PREFIX: Final = "*."
"""Exports of PostHog's query results name columns like this."""
_POSTHOG_KEPT: Final = ("event", "distinct_id", "uuid", "properties")
_POSTHOG_OBJECTS: Final = ("properties", "set", "set_once")
_SEGMENT_OBJECTS: Final = ("properties", "context", "traits")
_SEGMENT_TIMES: Final = ("timestamp", "originalTimestamp", "receivedAt", "sentAt")


class Told(Struct, frozen=True, kw_only=True):
    """What a record becomes, and when it happened."""

    mapped: Mapped
    occurred_ms: int


def read_posthog(project_id: str, record: Mapping[str, object]) -> Told:
    """What a row of a batch export, of the events page or of the API becomes.

    Raises Refused when it has no name, person or time.
    """
    found = {name.removeprefix(_EVENTS_PREFIX): value for name, value in record.items()}
    occurred_ms = _occurred(found.get("timestamp"))
    call = {name: found[name] for name in _POSTHOG_KEPT if found.get(name) not in (None, "")}
    call.setdefault("uuid", found.get("id"))
    call |= _objects(found, _POSTHOG_OBJECTS[:1])
    for column, name in (("set", "$set"), ("set_once", "$set_once")):
        told = _objects(found, (column,)).get(column)
        if told:
            call[name] = told
    call["timestamp"] = instant_text(occurred_ms)
    reception = Reception(project_id=project_id, received_ms=occurred_ms)
    mapped = map_posthog([call], reception, cookieless=False)
    return Told(mapped=mapped, occurred_ms=occurred_ms)


def read_segment(project_id: str, record: Mapping[str, object]) -> Told:
    """What a line of Segment's or RudderStack's raw files becomes.

    Raises Refused when it has no time.
    """
    told = next((record[name] for name in _SEGMENT_TIMES if record.get(name)), None)
    occurred_ms = _occurred(told)
    call = {**record, **_objects(record, _SEGMENT_OBJECTS)}
    reception = Reception(project_id=project_id, received_ms=occurred_ms)
    return Told(mapped=map_segment([call], reception), occurred_ms=occurred_ms)


def _occurred(raw: object) -> int:
    if raw is None or raw == "":
        raise Refused("there is no timestamp")
    found = read_instant(raw)
    return read_time(raw) if found is None else found


def _objects(record: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    """Columns that hold an object, also where a table has it as text."""
    found: dict[str, object] = {}
    for name in names:
        raw = record.get(name)
        if isinstance(raw, str) and raw:
            try:
                raw = cast("object", msgspec.json.decode(raw))
            except (msgspec.DecodeError, RecursionError) as error:
                raise Refused(f"{name} is not JSON: {error}") from error
        if isinstance(raw, dict):
            found[name] = cast("dict[str, object]", raw)
    return found
