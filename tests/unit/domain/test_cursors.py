"""Page tokens: read back exactly, or refused."""

from base64 import urlsafe_b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.base.errors import InvalidInputError
from appliance.domain.cursors import (
    Cursor,
    decode_event_cursor,
    decode_person_cursor,
    encode_event_cursor,
    encode_person_cursor,
    instant,
)

_ZERO = -62_135_596_800_000_000
_END = 253_402_300_799_999_999


@given(
    st.builds(
        Cursor, micros=st.integers(_ZERO + 1, _END), id=st.text(min_size=1, max_size=200)
    ).filter(lambda cursor: cursor.id.isprintable())
)
def test_round_trip(cursor: Cursor) -> None:
    """Every time and id that a row can have."""
    token = encode_person_cursor(cursor)
    assert "=" not in token
    assert decode_person_cursor(token) == cursor
    assert decode_event_cursor(encode_event_cursor(cursor)) == cursor


@given(st.text(max_size=60))
def test_any_text(token: str) -> None:
    """Whatever is sent is a place, the beginning, or refused; nothing else happens."""
    with suppress(InvalidInputError):
        assert (decode_person_cursor(token) is None) == (token == "")


@pytest.mark.parametrize(
    "text",
    [
        '{"t":"2026-05-10T09:30:00Z"}',
        '{"t":"2026-05-10T09:30:00Z","i":""}',
        '{"t":"0001-01-01T00:00:00Z","i":"a"}',
        '{"t":"2026-05-10","i":"a"}',
        '{"t":"2026-13-10T09:30:00Z","i":"a"}',
        '{"t":"0001-01-01T00:00:00+10:00","i":"a"}',
        '{"t":5,"i":"a"}',
        '{"t":"2026-05-10T09:30:00Z","e":"a"}',
        "[]",
        "{",
        "",
    ],
)
def test_refused(text: str) -> None:
    """Decodable, and still no place."""
    token = urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    if not token:
        assert decode_person_cursor(token) is None
        return
    with pytest.raises(InvalidInputError):
        decode_person_cursor(token)


def test_padding() -> None:
    """The unpadded form only."""
    with pytest.raises(InvalidInputError):
        decode_person_cursor("eyJ0IjoiMjAyNi0wNS0xMFQwOTozMDowMC4xMjNaIiwiaSI6IlAxIn0=")
    with pytest.raises(InvalidInputError):
        decode_person_cursor("e" * 10_000)
    long = Cursor(micros=1, id="ü" * 100_000)
    assert decode_person_cursor(encode_person_cursor(long)) == long


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-05-10T09:30:00.123Z", 1_778_405_400_123_000),
        ("2026-05-10T09:30:00.123456789Z", 1_778_405_400_123_456),
        ("2026-05-10T11:30:00.5+02:00", 1_778_405_400_500_000),
        ("1969-12-31T23:59:59.9Z", -100_000),
    ],
)
def test_times(text: str, micros: int) -> None:
    """Zones and fractions of others are read too."""
    token = urlsafe_b64encode(f'{{"t":"{text}","i":"a"}}'.encode()).rstrip(b"=").decode()
    assert decode_person_cursor(token) == Cursor(micros=micros, id="a")


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000, "1970-01-01T00:00:01.5Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_instant(micros: int, text: str) -> None:
    """Trailing zeros of the fraction are cut."""
    assert instant(micros) == text
