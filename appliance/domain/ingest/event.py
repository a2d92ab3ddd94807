"""The neutral event, and its decoding from the JSON form of `BatchCreateRequest`.

Invariant: "not sent" and "sent as empty" stay apart: an absent scalar is None, an empty text is "".
A property value is a plain Python value whose exact type is its typed slot: `str`, `int`, `float`,
`bool` or `Instant`; what breaks "exactly one variant" is a member of `Broken`, so that a bad value
becomes a violation and never an exception. Every decoder (this one, the binary one of the API)
builds these Structs; next comes `validate.py`.

Hot path: the wire Structs list both spellings of every field, so that one pass of msgspec reads
either [services 2.1]; measured by `tests/bench/ingest_domain.py`.
"""

import re
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct, field
from msgspec.structs import astuple

from appliance.base.errors import InvalidInputError

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 zones are handled in the text, all is UTC
_SECOND: Final = timedelta(seconds=1)
INSTANT_MIN_MS: Final = -62_135_596_800_000
INSTANT_MAX_MS: Final = 253_402_300_799_999


class Instant(Struct, frozen=True, order=True, gc=False):
    """A timestamp property: milliseconds since 1970 UTC, finer digits cut [ingestion 12, 13]."""

    milliseconds: int


class Broken(Enum):
    """A property value without exactly one variant [ingestion 2]."""

    UNSET = "unset"
    SEVERAL = "several"


PropertyValue = str | int | float | bool | Instant | Broken
"""A typed slot; tell slots apart with `type(value) is ...`, because a bool is also an int."""

Properties = dict[str, PropertyValue]


class Event(Struct, frozen=True, kw_only=True):
    """One event as sent: nothing checked, nothing derived.

    `occur_time_ms` counts milliseconds since 1970 UTC, rounded down. The two maps belong to the
    batch: the chain enriches them in place, so a decoder hands over maps it does not keep.
    """

    event_id: str | None = None
    kind: str | None = None
    occur_time_ms: int | None = None
    distinct_id: str | None = None
    session_id: str | None = None
    cookieless: bool = False
    auto_properties: Properties = field(default_factory=dict[str, PropertyValue])
    custom_properties: Properties = field(default_factory=dict[str, PropertyValue])


class CheckedEvent(Struct, kw_only=True):
    """An event that passed `validate.check_batch`: what is required is there, every value has a
    slot. `distinct_id` and `session_id` are empty while a cookieless event waits for its identity.

    Not frozen, and its maps change in place: the chain owns it [hot path].
    """

    event_id: str
    kind: str
    occur_time_ms: int
    distinct_id: str
    session_id: str
    cookieless: bool
    auto_properties: Properties
    custom_properties: Properties


class Batch(Struct, frozen=True, kw_only=True):
    """The events of one request, in the order sent."""

    events: tuple[Event, ...] = ()


class _WireValue(Struct, frozen=True, gc=False):
    string_value: str | None = field(default=None, name="stringValue")
    int_value: int | float | str | None = field(default=None, name="intValue")
    double_value: float | str | None = field(default=None, name="doubleValue")
    bool_value: bool | None = field(default=None, name="boolValue")
    timestamp_value: str | None = field(default=None, name="timestampValue")
    string_value_proto: str | None = field(default=None, name="string_value")
    int_value_proto: int | float | str | None = field(default=None, name="int_value")
    double_value_proto: float | str | None = field(default=None, name="double_value")
    bool_value_proto: bool | None = field(default=None, name="bool_value")
    timestamp_value_proto: str | None = field(default=None, name="timestamp_value")


_WireProperties = dict[str, _WireValue]


class _WireEvent(Struct, frozen=True):
    event_id: str | None = field(default=None, name="eventId")
    kind: str | None = None
    occur_time: str | None = field(default=None, name="occurTime")
    distinct_id: str | None = field(default=None, name="distinctId")
    session_id: str | None = field(default=None, name="sessionId")
    cookieless: bool | None = None
    auto_properties: _WireProperties | None = field(default=None, name="autoProperties")
    custom_properties: _WireProperties | None = field(default=None, name="customProperties")
    event_id_proto: str | None = field(default=None, name="event_id")
    occur_time_proto: str | None = field(default=None, name="occur_time")
    distinct_id_proto: str | None = field(default=None, name="distinct_id")
    session_id_proto: str | None = field(default=None, name="session_id")
    auto_properties_proto: _WireProperties | None = field(default=None, name="auto_properties")
    custom_properties_proto: _WireProperties | None = field(default=None, name="custom_properties")


class _WireRequest(Struct, frozen=True):
    events: list[_WireEvent] | None = None


_DECODER: Final = msgspec.json.Decoder(_WireRequest)


def decode_batch(body: bytes | memoryview) -> Batch:
    """The batch in a protobuf-JSON `BatchCreateRequest` [sdk-protocol 6].

    Both spellings of field names, unknown fields, null as "not sent", 64-bit integers as text or
    number and instants with up to nine digits are accepted. Raises InvalidInputError for what is
    not that message; a value with no or several variants is kept as `Broken` instead.
    """
    try:
        request = _DECODER.decode(body)
        return Batch(events=tuple(map(_event, request.events or ())))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidInputError(
            "INVALID_ARGUMENT", f"the body is not a BatchCreateRequest: {_cause(error)}"
        ) from error


def parse_instant(text: str) -> int:
    """Milliseconds since 1970 UTC of an RFC 3339 text, rounded down.

    Raises ValueError when the text is not an instant of the years 1 to 9999 in UTC.
    """
    if (
        len(text) == _PLAIN_LENGTH
        and text[4] == text[7] == "-"
        and text[10] == "T"
        and text[19] == "."
        and text[23] == "Z"
        and (fraction := text[20:23]).isascii()
        and fraction.isdigit()
    ):
        return _clock_seconds(text[:19]) * 1000 + int(fraction)
    return _parse_any_instant(text)


def instant_from_parts(seconds: int, nanos: int) -> int:
    """Milliseconds since 1970 UTC of a protobuf Timestamp, rounded down.

    The binary form has no range of its own, so the result is limited to the years 1 to 9999, the
    range of the JSON form.
    """
    milliseconds = seconds * 1000 + nanos // 1_000_000
    return min(max(milliseconds, INSTANT_MIN_MS), INSTANT_MAX_MS)


@lru_cache(maxsize=4096)  # events of one batch share their second more often than not
def _clock_seconds(text: str) -> int:
    try:
        clock = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("a timestamp names a day and a time that exist") from error
    return (clock - _EPOCH) // _SECOND


_PLAIN_LENGTH: Final = len("2026-03-04T05:06:07.089Z")
_RFC3339: Final = re.compile(
    r"(?P<clock>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,9}))?"
    r"(?:Z|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))"
)
_HOURS_MAX: Final = 23
_MINUTES_MAX: Final = 59


def _parse_any_instant(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("a timestamp is RFC 3339 text such as 2026-03-04T05:06:07.089Z")
    milliseconds = _clock_seconds(match["clock"]) * 1000
    if match["fraction"]:
        milliseconds += int(match["fraction"].ljust(3, "0")[:3])
    if match["sign"]:
        hours, minutes = int(match["hours"]), int(match["minutes"])
        if hours > _HOURS_MAX or minutes > _MINUTES_MAX:
            raise ValueError("a timestamp's offset is at most 23:59")
        offset = (hours * 60 + minutes) * 60_000
        milliseconds += offset if match["sign"] == "-" else -offset
    if not INSTANT_MIN_MS <= milliseconds <= INSTANT_MAX_MS:
        raise ValueError("a timestamp lies in the years 1 to 9999 UTC")
    return milliseconds


def _event(wire: _WireEvent) -> Event:
    occur_time = wire.occur_time if wire.occur_time is not None else wire.occur_time_proto
    return Event(
        event_id=wire.event_id if wire.event_id is not None else wire.event_id_proto,
        kind=wire.kind,
        occur_time_ms=None if occur_time is None else parse_instant(occur_time),
        distinct_id=(wire.distinct_id if wire.distinct_id is not None else wire.distinct_id_proto),
        session_id=wire.session_id if wire.session_id is not None else wire.session_id_proto,
        cookieless=wire.cookieless or False,
        auto_properties=_properties(wire.auto_properties or wire.auto_properties_proto or {}),
        custom_properties=_properties(wire.custom_properties or wire.custom_properties_proto or {}),
    )


def _properties(wire: _WireProperties) -> Properties:
    properties: Properties = {}
    for key, value in wire.items():
        text = value.string_value
        if (
            text is not None
            and value.int_value is None
            and value.double_value is None
            and value.bool_value is None
            and value.timestamp_value is None
            and value.string_value_proto is None
            and value.int_value_proto is None
            and value.double_value_proto is None
            and value.bool_value_proto is None
            and value.timestamp_value_proto is None
        ):
            properties[key] = text
        else:
            properties[key] = _value(value)
    return properties


def _value(wire: _WireValue) -> PropertyValue:
    if (variants := astuple(wire)).count(None) != _VARIANTS - 1:
        return Broken.UNSET if variants.count(None) == _VARIANTS else Broken.SEVERAL
    if (number := wire.double_value) is not None:
        return number if type(number) is float else _read_double(number)
    if (flag := wire.bool_value) is not None:
        return flag
    if (text := wire.timestamp_value) is not None:
        return Instant(parse_instant(text))
    if (count := wire.int_value) is not None:
        return _read_int(count)
    return _value_by_proto_name(wire)


def _value_by_proto_name(wire: _WireValue) -> PropertyValue:
    if (text := wire.string_value_proto) is not None:
        return text
    if (count := wire.int_value_proto) is not None:
        return _read_int(count)
    if (number := wire.double_value_proto) is not None:
        return _read_double(number)
    if (flag := wire.bool_value_proto) is not None:
        return flag
    assert wire.timestamp_value_proto is not None
    return Instant(parse_instant(wire.timestamp_value_proto))


def _read_int(raw: int | float | str) -> int:  # noqa: PYI041 the type of the slot decides
    if type(raw) is str and (match := _SHORT_INTEGER.fullmatch(raw)) is not None:
        return int(match[0])
    number = _integer_of_text(raw) if isinstance(raw, str) else raw
    if isinstance(number, float):
        if not number.is_integer():
            raise ValueError("an intValue is a whole number")
        number = int(number)
    if not INT64_MIN <= number <= INT64_MAX:
        raise ValueError("an intValue fits 64 bits")
    return number


def _integer_of_text(text: str) -> int | float:
    if _INTEGER.fullmatch(text):
        return int(text)
    return _read_double(text)


def _read_double(raw: float | str) -> float:
    if not isinstance(raw, str):
        return float(raw)
    if raw in _SPECIAL_DOUBLES:
        return _SPECIAL_DOUBLES[raw]
    if not _NUMBER.fullmatch(raw):
        raise ValueError("a number in text form is a JSON number, NaN, Infinity or -Infinity")
    number = float(raw)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a doubleValue fits 64 bits")
    return number


_SHORT_INTEGER: Final = re.compile(r"-?[1-9][0-9]{0,17}|0")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_SPECIAL_DOUBLES: Final = {
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}
_VARIANTS: Final = len(_WireValue.__struct_fields__)


def _cause(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "text is not UTF-8"
    return str(error)
