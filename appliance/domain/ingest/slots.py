"""Typed slots: their text form, and the tagged text that the event store keeps (decision 0001).

Invariant: `untag(tag(value)) == value`, same type included, for every value but `Broken`; the text
after the tag is the text form of [insights 4.2], so queries never look at types to compare text.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

from appliance.domain.ingest.event import Broken, Instant, PropertyValue, parse_instant

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 all is UTC, and zone-less is twice as fast
_PLAIN_MIN: Final = 1e-6
_PLAIN_END: Final = 1e21


def tag(value: PropertyValue) -> str:
    """The tagged text of a value that has a slot."""
    kind = type(value)
    if kind is str:
        return f"s{value}"
    if kind is float:
        return "d" + double_text(value)  # pyright: ignore[reportArgumentType] kind is float
    if kind is bool:
        return "btrue" if value else "bfalse"
    if kind is int:
        return f"i{value}"
    assert isinstance(value, Instant), "a value without a slot passed the rules"
    return "t" + instant_text(value.milliseconds)


def untag(text: str) -> PropertyValue:
    """The value of a tagged text; raises ValueError when it is none of ours."""
    body = text[1:]
    match text[:1]:
        case "s":
            return body
        case "i":
            return int(body)
        case "d":
            return float(body)
        case "b":
            return body == "true"
        case "t":
            return Instant(parse_instant(body.replace(" ", "T") + "Z"))
        case _:
            raise ValueError("a stored property value starts with its tag")


def text_of(value: PropertyValue | None) -> str | None:
    """A value read as text, None when it cannot be: an instant, or no value [ingestion 8.1]."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return double_text(value)
    assert isinstance(value, (Instant, Broken))
    return None


def double_text(value: float) -> str:
    """The shortest digits that round-trip, without a trailing `.0`; plain digits for
    1e-6 <= abs < 1e21, outside that `1e-7` and `1e21` [insights 4.2].
    """
    text = repr(value)
    if text.endswith(".0"):
        return text[:-2]
    if "e" not in text:
        return text
    if _PLAIN_MIN <= abs(value) < _PLAIN_END:
        return format(Decimal(text), "f")
    digits, exponent = text.split("e")
    return f"{digits}e{int(exponent)}"


def instant_text(milliseconds: int) -> str:
    """`YYYY-MM-DD hh:mm:ss.mmm` in UTC; the form that the event store reads exactly."""
    return f"{_clock_text(milliseconds // 1000)}.{milliseconds % 1000:03d}"


@lru_cache(maxsize=4096)  # events of one batch share their second more often than not
def _clock_text(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(sep=" ")
