"""Page tokens: where in an order of (time, id), newest first, a page ended [profiles 4.4].

Invariant: what `encode_cursor` made, `decode_cursor` reads back exactly; anything else that is not
an unpadded URL-safe base64 of a JSON object with a time and an id is refused. A token carries no
filter and no project: it is a place in an order, and of no use to a stranger. Ids have no limit of
their own, so tokens have none but that of a request.
"""

import re
from base64 import urlsafe_b64encode
from binascii import Error, a2b_base64
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from appliance.base.errors import InvalidInputError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO: Final = -62_135_596_800_000_000
_MICROSECOND: Final = timedelta(microseconds=1)
_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_INSTANT: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII
)


class Cursor(Struct, frozen=True, kw_only=True):
    """The last row of a page: its time in microseconds since 1970 UTC, and its id."""

    micros: int
    id: str


class _PersonToken(Struct, frozen=True):
    t: str
    i: str


class _EventToken(Struct, frozen=True):
    t: str
    e: str


_Token = TypeVar("_Token", _PersonToken, _EventToken)


def encode_person_cursor(cursor: Cursor) -> str:
    """The token of a list of persons."""
    return _encode(_PersonToken(t=instant(cursor.micros), i=cursor.id))


def decode_person_cursor(token: str) -> Cursor | None:
    """Where a list of persons goes on; None for the empty token, the first page.

    Raises InvalidInputError (`INVALID_PAGE_TOKEN`).
    """
    if not token:
        return None
    read = _decode(token, _PersonToken)
    return _cursor(read.t, read.i)


def encode_event_cursor(cursor: Cursor) -> str:
    """The token of a list of events."""
    return _encode(_EventToken(t=instant(cursor.micros), e=cursor.id))


def decode_event_cursor(token: str) -> Cursor | None:
    """Where a list of events goes on; None for the empty token, the first page.

    Raises InvalidInputError (`INVALID_PAGE_TOKEN`).
    """
    if not token:
        return None
    read = _decode(token, _EventToken)
    return _cursor(read.t, read.e)


def instant(micros: int) -> str:
    """RFC 3339 in UTC, trailing zeros of the fraction cut."""
    moment = _EPOCH + timedelta(microseconds=micros)
    text = moment.replace(tzinfo=None, microsecond=0).isoformat()
    fraction = f".{moment.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{text}{fraction}Z"


def _encode(token: Struct) -> str:
    return urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()


def _decode(token: str, kind: type[_Token]) -> _Token:
    if _ALPHABET.fullmatch(token) is None:
        raise _refused()
    padded = token.replace("-", "+").replace("_", "/") + "=" * (-len(token) % 4)
    try:
        return msgspec.json.decode(a2b_base64(padded, strict_mode=True), type=kind)
    except (Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refused() from error


def _cursor(moment: str, identity: str) -> Cursor:
    micros = _micros(moment)
    if not identity or micros is None or micros == _ZERO:
        raise _refused()
    return Cursor(micros=micros, id=identity)


def _micros(text: str) -> int | None:
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole + zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH) // _MICROSECOND + int((fraction or "").ljust(6, "0")[:6])


def _refused() -> InvalidInputError:
    return InvalidInputError("INVALID_PAGE_TOKEN", "the page token is none of ours")
