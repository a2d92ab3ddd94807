"""Which names and keys pickers offer, and in what order [insights 17.1].

Invariant: the 23 promoted text keys are always offered unless a narrowing to other types leaves
them out; the three promoted keys that are no text never are. A key has one type, the first seen.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.domain.insights.dimensions import Promoted, find_promoted

EVENT_NAMES_MAX: Final = 1000
KEYS_MAX: Final = 500
"""Keys of one source, besides the promoted ones."""

VALUES_MAX: Final = 100

_NEVER: Final = frozenset({Promoted.BOT_SCORE, Promoted.VERIFIED_BOT, Promoted.MOBILE})


class ValueType(StrEnum):
    """What sort of values a key has."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    OTHER = "other"


class EventName(Struct, frozen=True, kw_only=True):
    """A kind of event; the time is in milliseconds since 1970 UTC."""

    name: str
    count: int
    last_ms: int


class Key(Struct, frozen=True, kw_only=True):
    """A property key; without `last_ms` it was never seen."""

    name: str
    type: ValueType
    count: int = 0
    last_ms: int | None = None


class Seen(Struct, frozen=True, kw_only=True):
    """How often a promoted property had a value, and on which UTC day last."""

    count: int
    last_ms: int


class FilterSchema(Struct, frozen=True, kw_only=True):
    """Everything that a filter can be built from."""

    events: Sequence[EventName]
    auto: Sequence[Key]
    custom: Sequence[Key]
    profile: Sequence[Key]


def offer_auto_keys(
    found: Iterable[Key], promoted: Mapping[str, Seen], allowed: Collection[ValueType]
) -> list[Key]:
    """Auto keys with the promoted ones among them, most frequent first, then by name."""
    others = [key for key in found if find_promoted(key.name) is None]
    fixed = (
        Key(
            name=each.value,
            type=ValueType.STRING,
            count=seen.count if (seen := promoted.get(each.value)) else 0,
            last_ms=seen.last_ms if seen else None,
        )
        for each in Promoted
        if each not in _NEVER
    )
    return sorted(
        [*narrow(others, allowed), *(key for key in fixed if not allowed or key.type in allowed)],
        key=lambda key: (-key.count, key.name),
    )


def narrow(found: Iterable[Key], allowed: Collection[ValueType]) -> list[Key]:
    """The keys of these types, all without any, as many as a picker gets."""
    return [key for key in found if not allowed or key.type in allowed][:KEYS_MAX]
