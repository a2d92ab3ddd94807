"""The hand-written reader of binary batches equals the protobuf library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protobuf import Oneof
from protobuf.wkt import Timestamp

from appliance.api.wire_events import EventReader, read_with_library
from appliance.gen.common.v1.property_value_pb import PropertyValue
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest, Event

text = st.text(max_size=200)
int64 = st.integers(-(2**63), 2**63 - 1)
timestamps = st.builds(
    Timestamp,
    seconds=st.one_of(st.integers(-(2**40), 2**40), int64),
    nanos=st.integers(-(2**31), 2**31 - 1),
)
values = st.one_of(
    st.just(PropertyValue()),
    st.one_of(
        st.builds(lambda v: Oneof("string_value", v), text),
        st.builds(lambda v: Oneof("int_value", v), int64),
        st.builds(lambda v: Oneof("double_value", v), st.floats(allow_nan=False)),
        st.builds(lambda v: Oneof("bool_value", v), st.booleans()),
        st.builds(lambda v: Oneof("timestamp_value", v), timestamps),
    ).map(lambda variant: PropertyValue(value=variant)),
)
properties = st.dictionaries(st.text(max_size=150), values, max_size=6)
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
READER = EventReader()


def outcome(read: object, body: bytes) -> object:
    assert callable(read)
    try:
        return read(body)
    except ValueError:
        return "refused"


@given(st.lists(events, max_size=4))
def test_messages(found: list[Event]):
    """Whatever a client can build is read alike, with and without remembered entries."""
    body = BatchCreateRequest(events=found).to_binary()
    expected = read_with_library(body)
    assert EventReader().read(body) == expected
    assert READER.read(body) == expected
    assert READER.read(body) == expected


@given(st.lists(events, min_size=1, max_size=2), st.data())
def test_damaged_messages(found: list[Event], data: st.DataObject):
    """Flipped, cut and inserted bytes give the same batch or the same refusal."""
    body = bytearray(BatchCreateRequest(events=found).to_binary() or b"\x0a\x00")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(len(body) - 1, 0)))
        match data.draw(st.sampled_from(("flip", "cut", "insert"))):
            case "flip" if body:
                body[place] = data.draw(st.integers(0, 255))
            case "cut":
                del body[place:]
            case _:
                body.insert(place, data.draw(st.integers(0, 255)))
    damaged = bytes(body)
    assert repr(outcome(EventReader().read, damaged)) == repr(outcome(read_with_library, damaged))
    assert repr(outcome(READER.read, damaged)) == repr(outcome(read_with_library, damaged))


@given(st.binary(max_size=60))
def test_noise(body: bytes):
    """Arbitrary bytes too."""
    assert repr(outcome(EventReader().read, body)) == repr(outcome(read_with_library, body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x0a\x00",
        # an unknown field between known ones
        b"\x0a\x07\x7a\x01x\x2a\x02ab",
        # one field twice: the last wins
        b"\x0a\x06\x2a\x01a\x2a\x01b",
        # the two maps' fields in another order, entry without a key
        b"\x0a\x08\x1a\x06\x12\x04\x0a\x02hi",
        # an entry without a value
        b"\x0a\x05\x12\x03\x0a\x01$",
        # cookieless as a longer varint
        b"\x0a\x03\x40\x81\x00",
    ],
)
def test_unusual_forms(body: bytes):
    """Legal but odd bytes go to the library."""
    assert EventReader().read(body) == read_with_library(body)
