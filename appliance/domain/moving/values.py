"""What stands in a file, as the values of an event: typed slots and instants.

Invariant: a value either becomes exactly one typed slot or raises `Refused` with a sentence for
people; nothing is cut or guessed. What clients of other systems send is read in
`domain/compat/reading.py`, which gives way instead. Records are read in `records.py`.
"""

import re
from collections.abc import Mapping
from math import isfinite
from typing import Final, cast

import msgspec

from appliance.domain.ingest.event import (
    INSTANT_MAX_MS,
    INSTANT_MIN_MS,
    INT64_MAX,
    INT64_MIN,
    Instant,
    Properties,
    PropertyValue,
    parse_instant,
)

TEXT_ID_CHARACTERS_MAX: Final = 1024
_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,19}(\.[0-9]{1,9})?")
_CLOCK: Final = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)"
    r" ?(?P<zone>Z|z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_MINUTES_LENGTH: Final = len("05:06")
_SLOTS: Final = {
    "stringValue": "string",
    "string_value": "string",
    "intValue": "int",
    "int_value": "int",
    "doubleValue": "double",
    "double_value": "double",
    "boolValue": "bool",
    "bool_value": "bool",
    "timestampValue": "timestamp",
    "timestamp_value": "timestamp",
}
"""The wire form of a typed value [sdk-protocol 6]; our own export uses it for instants."""
_UNITS: Final = ((10**11, 1000, 1), (10**14, 1, 1), (10**17, 1, 1000))
"""Numbers of time: below the first column the instant in ms is number * second / third."""


class Refused(Exception):  # noqa: N818 a verdict about one line, not a failure
    """A line that cannot be an event, and why, for people."""


def read_value(raw: object) -> PropertyValue | None:
    """The typed slot of a JSON value; None for null, which is the absence of a value.

    A list, or an object that is no typed value of the wire, is kept as JSON text.
    """
    kind = type(raw)
    if kind is str or kind is bool or kind is float or raw is None:
        return cast("PropertyValue | None", raw)
    if kind is int:
        number = cast("int", raw)
        return number if INT64_MIN <= number <= INT64_MAX else _as_fraction(number)
    if kind is dict:
        return _read_object(cast("dict[str, object]", raw))
    return msgspec.json.encode(raw).decode()


def _as_fraction(number: int) -> float:
    try:
        return float(number)
    except OverflowError as error:
        raise Refused("a number has more than 308 digits") from error


def _read_object(raw: dict[str, object]) -> PropertyValue | None:
    if len(raw) == 1:
        ((key, inner),) = raw.items()
        slot = _SLOTS.get(key)
        if slot is not None:
            return _read_slot(slot, inner)
    return msgspec.json.encode(raw).decode()


def _read_slot(slot: str, inner: object) -> PropertyValue:
    try:
        match slot:
            case "timestamp" if isinstance(inner, str):
                return Instant(parse_instant(inner))
            case "int" if isinstance(inner, (str, int)):
                number = int(inner)
                if INT64_MIN <= number <= INT64_MAX:
                    return number
            case "double" if isinstance(inner, (str, int, float)):
                return float(inner)
            case "bool" if isinstance(inner, bool):
                return inner
            case "string" if isinstance(inner, str):
                return inner
            case _:
                pass
    except ValueError as error:
        raise Refused(f"a {slot} value cannot be read: {error}") from error
    raise Refused(f"a {slot} value is none")


def read_properties(raw: Mapping[str, object]) -> Properties:
    """The values of an object, those that are null left out."""
    found: Properties = {}
    for key, inner in raw.items():
        value = read_value(inner)
        if value is not None:
            found[key] = value
    return found


def read_time(raw: object) -> int:
    """Milliseconds since 1970 UTC of a time in a file.

    Text is RFC 3339 or `YYYY-MM-DD hh:mm:ss`, UTC without a zone; a number counts seconds,
    milliseconds, microseconds or nanoseconds, told apart by its size: seconds are below 10^11.
    """
    if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
        raise Refused("the time is neither text nor a number")
    if isinstance(raw, str):
        text = raw.strip()
        if not _DIGITS.fullmatch(text):
            return _read_clock(text)
        raw = float(text) if "." in text else int(text)
    milliseconds = _read_number(raw)
    if milliseconds is None or not INSTANT_MIN_MS <= milliseconds <= INSTANT_MAX_MS:
        raise Refused("the time is outside the years 1 to 9999")
    return milliseconds


def _read_number(raw: float) -> int | None:
    if isinstance(raw, float) and not isfinite(raw):
        return None
    size = abs(raw)
    for below, times, parts in _UNITS:
        if size < below:
            return int(raw * times // parts)
    return int(raw // 1_000_000)


def _read_clock(text: str) -> int:
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise Refused(f"the time {text[:40]!r} is not one like 2026-03-04T05:06:07.089Z")
    time = match["time"] or "00:00"
    if len(time) == _MINUTES_LENGTH:
        time += ":00"
    zone = match["zone"] or "Z"
    if zone in {"z", "UTC"}:
        zone = "Z"
    elif zone != "Z":
        zone = f"{zone[:3]}:{zone[3:].lstrip(':') or '00'}"
    try:
        return parse_instant(f"{match['day']}T{time}{zone}")
    except ValueError as error:
        raise Refused(f"the time {text[:40]!r} does not exist") from error
