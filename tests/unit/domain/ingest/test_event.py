"""The JSON decoder of batches reads what the protobuf library reads, and refuses the rest."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protobuf import Oneof
from protobuf.wkt import Timestamp

from appliance.api.wire_events import read_with_library
from appliance.base.errors import InvalidInputError
from appliance.domain.ingest.event import (
    Broken,
    Instant,
    decode_batch,
    instant_from_parts,
    parse_instant,
)
from appliance.domain.ingest.event import Event as Neutral
from appliance.gen.common.v1.property_value_pb import PropertyValue
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest, Event

_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
timestamps = st.builds(
    Timestamp,
    seconds=st.integers(_SECONDS_MIN, _SECONDS_MAX),
    nanos=st.sampled_from((0, 1, 89_000_000, 999_999_999)) | st.integers(0, 999_999_999),
)
values = st.one_of(
    st.builds(lambda v: Oneof("string_value", v), text),
    st.builds(lambda v: Oneof("int_value", v), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda v: Oneof("double_value", v), st.floats(allow_nan=False)),
    st.builds(lambda v: Oneof("bool_value", v), st.booleans()),
    st.builds(lambda v: Oneof("timestamp_value", v), timestamps),
    st.none(),
).map(lambda variant: PropertyValue(value=variant) if variant else PropertyValue())
properties = st.dictionaries(text, values, max_size=5)
events = st.builds(
    Event,
    event_id=st.none() | text,
    kind=st.none() | text,
    distinct_id=st.none() | text,
    session_id=st.none() | text,
    occur_time=st.none() | timestamps,
    cookieless=st.none() | st.booleans(),
    auto_properties=properties,
    custom_properties=properties,
)


def value_of(wire: dict[str, Any]) -> object:
    body = json.dumps({"events": [{"customProperties": {"a": wire}}]}).encode()
    return decode_batch(body).events[0].custom_properties["a"]


@given(st.lists(events, max_size=3), st.booleans())
def test_equals_the_library_in_both_spellings(found: list[Event], snake: bool) -> None:
    """Unset and empty, all slots, all instants: JSON and binary give the same neutral events."""
    request = BatchCreateRequest(events=found)
    body = request.to_json(use_proto_field_name=snake)
    ours, theirs = decode_batch(body.encode()), read_with_library(request.to_binary())
    assert ours == theirs
    assert list(map(_types, ours.events)) == list(map(_types, theirs.events))


def _types(event: Neutral) -> list[dict[str, type]]:
    return [
        {key: type(value) for key, value in found.items()}
        for found in (event.auto_properties, event.custom_properties)
    ]


def test_unset_and_empty_stay_apart() -> None:
    events = decode_batch(
        b'{"events":[{"distinctId":"","sessionId":null},{"distinct_id":"a"}]}'
    ).events
    assert (events[0].distinct_id, events[0].session_id, events[1].distinct_id) == ("", None, "a")


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ({"intValue": "-9007199254740993"}, -9007199254740993),
        ({"intValue": 9007199254740993}, 9007199254740993),
        ({"intValue": 1.0}, 1),
        ({"intValue": "1e3"}, 1000),
        ({"intValue": "-9223372036854775808"}, -(2**63)),
        ({"int_value": 0}, 0),
        ({"doubleValue": 1}, 1.0),
        ({"doubleValue": "1.5e3"}, 1500.0),
        ({"boolValue": False}, False),
        ({"stringValue": "2026-01-01T00:00:00Z"}, "2026-01-01T00:00:00Z"),
        ({"stringValue": ""}, ""),
        ({"timestampValue": "2026-01-01T01:00:00.1239+01:00"}, Instant(1767225600123)),
        ({"string_value": "x"}, "x"),
        ({"stringValue": "x", "intValue": None}, "x"),
        ({"bool_value": True}, True),
        ({"double_value": 2}, 2.0),
        ({"timestamp_value": "1970-01-01T00:00:00Z"}, Instant(0)),
        ({}, Broken.UNSET),
        ({"stringValue": None}, Broken.UNSET),
        ({"unknown": 1}, Broken.UNSET),
        ({"stringValue": "x", "intValue": 1}, Broken.SEVERAL),
        ({"stringValue": "x", "string_value": "y"}, Broken.SEVERAL),
    ],
)
def test_slots(wire: dict[str, Any], value: object) -> None:
    found = value_of(wire)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    "wire",
    [
        {"intValue": 1.5},
        {"intValue": "1.5"},
        {"intValue": "9223372036854775808"},
        {"intValue": 2**63},
        {"intValue": ""},
        {"intValue": " 1"},
        {"intValue": "1_0"},
        {"intValue": "NaN"},
        {"doubleValue": ""},
        {"doubleValue": "0x1p3"},
        {"doubleValue": "1e999"},
        {"doubleValue": True},
        {"boolValue": "true"},
        {"boolValue": 1},
        {"stringValue": 1},
        {"timestampValue": 1},
        {"timestampValue": "2026-01-01"},
    ],
)
def test_wrong_slots_are_refused(wire: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        value_of(wire)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"events":{}}',
        b'{"events":[null]}',
        b'{"events":[{"kind":1}]}',
        b'{"events":[{"autoProperties":{"$a":null}}]}',
        b'{"events":[{"autoProperties":[]}]}',
        b'{"events":[{"kind":"\xff"}]}',
        b'{"events":[{"kind":"\\ud800"}]}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_other_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode_batch(body)
    assert caught.value.reason == "INVALID_ARGUMENT"
    assert not caught.value.violations


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T00:00:00.0019Z", 1),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-05-10T01:00:00+05:30", 1778355000000),
        ("2026-05-09T19:30:00-00:00", 1778355000000),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999),
    ],
)
def test_instants(text: str, milliseconds: int) -> None:
    assert parse_instant(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-04",
        "2026-03-04 05:06:07Z",
        "2026-03-04T05:06:07",
        "2026-03-04t05:06:07z",
        "2026-03-04T05:06:07.Z",
        "2026-03-04T05:06:07.1234567890Z",
        "2026-03-04T24:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-03-04T05:06:60Z",
        "2026-03-04T05:06:07.\u0660\u0668\u0669Z",
        "2026-03-04T05:06:07+24:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-W10-3T05:06:07.089Z",
        "2026-03-04T05:06:07.089Z\n",
    ],
)
def test_other_instants_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="timestamp"):
        parse_instant(text)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_binary_instants_stay_in_range(seconds: int, nanos: int) -> None:
    assert -62_135_596_800_000 <= instant_from_parts(seconds, nanos) <= 253_402_300_799_999
