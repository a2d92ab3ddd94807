"""What other people's clients put into JSON, read without ever failing.

Invariant: every function answers for every JSON value: with the value it can make of it, or with
None (or an empty object) when there is none. So one odd field costs that field and never a batch.
What the values become is decided in `segment.py` and `posthog.py`.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, cast

import msgspec

from appliance.domain.ingest.event import (
    INT64_MAX,
    INT64_MIN,
    Properties,
    PropertyValue,
    parse_instant,
)
from appliance.domain.ingest.validate import TEXT_CHARACTERS_MAX
from appliance.domain.people.traits import ADDRESS_KEY, JsonValue
from appliance.domain.people.traits import Properties as Traits

JsonObject = Mapping[str, object]
"""A decoded JSON object."""

_NOTHING: Final[JsonObject] = {}
_ENCODER: Final = msgspec.json.Encoder()
_INSTANT_CHARACTERS_MAX: Final = 40
_SECONDS_MAX: Final = 100_000_000_000
"""A number below it counts seconds, from it on milliseconds: the border is the year 5138."""
_MILLISECONDS_MAX: Final = 253_402_300_799_999


def as_object(value: object) -> JsonObject:
    """The object, or an empty one for anything else."""
    return cast("JsonObject", value) if isinstance(value, dict) else _NOTHING


def as_list(value: object) -> list[object]:
    """The list, or an empty one for anything else."""
    return cast("list[object]", value) if isinstance(value, list) else []


def inner(content: JsonObject, *names: str) -> JsonObject:
    """The object at the end of a path of names."""
    for name in names:
        content = as_object(content.get(name))
    return content


def read_text(value: object) -> str | None:
    """A non-empty text; whole numbers count, because ids are often sent as such."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value_text(value)


def value_text(value: float) -> str:
    """A number as text; without a fraction that is zero."""
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    return str(value)


def read_number(value: object) -> float | None:
    """A finite number; in text form, too."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_instant(value: object) -> int | None:
    """Milliseconds since 1970 UTC of what clients call a time: RFC 3339, the same with a blank or
    without a zone (UTC then), or a number of seconds or milliseconds.
    """
    if isinstance(value, str):
        return _read_instant_text(value.strip())
    number = read_number(value)
    if number is None or number < 0:
        return None
    milliseconds = number * 1000 if number < _SECONDS_MAX else number
    return int(milliseconds) if milliseconds <= _MILLISECONDS_MAX else None


def _read_instant_text(text: str) -> int | None:
    if not text or len(text) > _INSTANT_CHARACTERS_MAX:
        return None
    try:
        return parse_instant(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return parse_instant(moment.isoformat(timespec="milliseconds"))
    except (ValueError, OverflowError):
        return None


def read_value(value: object) -> PropertyValue | None:
    """A JSON value as a property: null is none, objects and lists are their JSON text, texts are
    cut at the limit [well-known-events 3].
    """
    match value:
        case str():
            return value[:TEXT_CHARACTERS_MAX]
        case bool():
            return value
        case int():
            return value if INT64_MIN <= value <= INT64_MAX else read_number(value)
        case float():
            return value if math.isfinite(value) else None
        case dict() | list():
            return _json_text(cast("object", value))
        case _:
            return None


def _json_text(value: object) -> str | None:
    try:
        return _ENCODER.encode(value).decode()[:TEXT_CHARACTERS_MAX]
    except (RecursionError, ValueError):
        return None


def read_properties(content: JsonObject, *, without: frozenset[str] = frozenset()) -> Properties:
    """An object as custom properties: keys lose leading `$`, which are ours; the sender's own key
    wins over one that only became equal to it. An address is never one [ingestion 5].
    """
    found: Properties = {}
    for key, value in _plain_last(content):
        if key != ADDRESS_KEY and key not in without and (kept := read_value(value)) is not None:
            found[key.lstrip("$")] = kept
    return found


def _plain_last(content: JsonObject) -> Iterator[tuple[str, object]]:
    yield from ((key, value) for key, value in content.items() if key.startswith("$"))
    yield from ((key, value) for key, value in content.items() if not key.startswith("$"))


def read_traits(*layers: JsonObject) -> Traits:
    """Objects laid over each other, the last on top, without keys that begin with `$`: those are
    facts about the client, which events carry.
    """
    traits: Traits = {}
    for layer in layers:
        told = cast("Mapping[str, JsonValue]", layer)
        traits.update((key, value) for key, value in told.items() if not key.startswith("$"))
    return traits
