"""Typed slots as tagged text, and their text form [insights 4.2]."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.ingest.event import Instant, PropertyValue
from appliance.domain.ingest.slots import double_text, instant_text, tag, text_of, untag

instants = st.integers(-62_135_596_800_000, 253_402_300_799_999).map(Instant)
values = st.one_of(
    st.text(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    instants,
)


@given(values)
def test_every_value_survives_with_its_type(value: PropertyValue) -> None:
    found = untag(tag(value))
    assert (type(found), found) == (type(value), value)


@given(values)
def test_the_text_after_the_tag_is_the_text_form(value: PropertyValue) -> None:
    form = text_of(value)
    assert tag(value)[1:] == (form if form is not None else instant_text(_ms(value)))


def _ms(value: PropertyValue) -> int:
    assert isinstance(value, Instant)
    return value.milliseconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (2.5, "2.5"),
        (-0.0, "-0"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (1e16, "10000000000000000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e21"),
        (1.2345e25, "1.2345e25"),
        (5e-324, "5e-324"),
        (1920.0, "1920"),
    ],
)
def test_doubles(value: float, text: str) -> None:
    assert double_text(value) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01 00:00:00.000"),
        (-1, "1969-12-31 23:59:59.999"),
        (1772600767089, "2026-03-04 05:06:07.089"),
        (-62_135_596_800_000, "0001-01-01 00:00:00.000"),
        (253_402_300_799_999, "9999-12-31 23:59:59.999"),
    ],
)
def test_instants(milliseconds: int, text: str) -> None:
    assert instant_text(milliseconds) == text


@pytest.mark.parametrize("text", ["", "x1", "42"])
def test_other_texts_are_not_ours(text: str) -> None:
    with pytest.raises(ValueError, match=r"tag"):
        untag(text)


def test_tags_survive_json() -> None:
    assert json.loads(json.dumps(tag("\x00\n\u2028"))) == "s\x00\n\u2028"
