"""Scalars of the graph: JSON, instants, whole numbers of 64 bits.

Invariant: what leaves here is what the Connect face sends for the same message, as JSON; what comes
in is taken apart by the messages' own rules, not here.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NewType, cast

import strawberry
from protobuf import Message, message_to_json_value
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp as TimestampMessage
from strawberry.types.scalar import ScalarDefinition

from appliance.base.errors import InvalidInputError

Json = NewType("Json", object)
Instant = NewType("Instant", object)
"""A datetime or a message that says when; RFC 3339 on the wire."""
Long = NewType("Long", int)

INSTANT_CHARACTERS_MAX: Final = 64


def json_of(value: object) -> object:
    """A message, or JSON already, as JSON."""
    if isinstance(value, Message):
        return message_to_json_value(cast("Message[Any]", value))
    return value


def _instant_text(value: object) -> object:
    if isinstance(value, datetime):
        value = TimestampMessage.from_datetime(value)
    return json_of(value)


def _parse_instant(value: object) -> object:
    if not isinstance(value, str) or len(value) > INSTANT_CHARACTERS_MAX:
        raise InvalidInputError(
            "INVALID_ARGUMENT", "an instant is a text like 2026-05-01T00:00:00Z"
        )
    return value


SCALARS: Final[Mapping[object, ScalarDefinition]] = {
    Json: strawberry.scalar(name="JSON", description="Any JSON value.", serialize=json_of),
    Instant: strawberry.scalar(
        name="Instant",
        description="A moment in RFC 3339 form, such as 2026-05-01T00:00:00Z.",
        serialize=_instant_text,
        parse_value=_parse_instant,
    ),
    Long: strawberry.scalar(
        name="Long", description="A whole number of up to 64 bits.", serialize=int
    ),
}
