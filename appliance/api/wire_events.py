# ruff: noqa: PLR2004 the numbers are tags of the wire format; names would cost a look-up each
"""Hot path: a binary `BatchCreateRequest` read straight into the events of the domain.

Invariant: the result equals what the protobuf library reads. This module knows only the forms that
SDKs send; whatever else it meets (unknown fields, odd order, repeated oneofs) goes to the library,
so a surprise costs time and never truth. `tests/unit/api/test_wire_events.py` proves the equality
on generated messages; `tests/bench/ingest_face.py` prints what it is worth.

Why by hand: the library takes about 12 us for an event of 22 properties and the loop over its
objects comes on top; here equal property entries, which make up most of a batch, are read once and
then found by their bytes.
"""

from struct import Struct as Layout
from struct import error as LayoutError  # noqa: N812 an exception under a name of its own
from typing import Final, cast

from appliance.domain.ingest.event import (
    Batch,
    Broken,
    Event,
    Instant,
    Properties,
    PropertyValue,
    instant_from_parts,
)
from appliance.gen.common.v1.property_value_pb import PropertyValue as WireValue
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest
from appliance.gen.sdk.events.v1.events_pb import Event as WireEvent

_DOUBLE: Final = Layout("<d")
_ENTRIES_MAX: Final = 16384
_ENTRY_BYTES_MAX: Final = 192
_INT64_SIGN: Final = 1 << 63
_UINT64: Final = 1 << 64
_NANOS_END: Final = 1 << 31
_VARINT_BITS_MAX: Final = 63

_Pair = tuple[str, PropertyValue]


class _UnusualError(Exception):
    """A form that the library has to read."""


class EventReader:
    """Reads batches; keeps the property entries it saw last, bounded."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Pair] = {}

    def read(self, body: bytes) -> Batch:
        """The batch in `body`.

        Raises ValueError (UnicodeDecodeError included) for bytes that are not the message.
        """
        try:
            return self._read_batch(body)
        except (_UnusualError, IndexError, LayoutError, UnicodeDecodeError):
            return read_with_library(body)

    def _read_batch(self, body: bytes) -> Batch:
        events: list[Event] = []
        position, end = 0, len(body)
        while position < end:
            if body[position] != 0x0A:
                raise _UnusualError
            length = body[position + 1]
            position += 2
            if length > 127:
                length, position = _varint(body, position - 1)
            stop = position + length
            if stop > end:
                raise _UnusualError
            events.append(self._read_event(body, position, stop))
            position = stop
        return Batch(events=tuple(events))

    def _read_event(self, body: bytes, position: int, end: int) -> Event:  # noqa: C901, PLR0912 one loop, no calls: this is the hot path
        event_id = kind = distinct_id = session_id = None
        occur_time_ms: int | None = None
        cookieless = False
        auto_properties: Properties = {}
        custom_properties: Properties = {}
        entries = self._entries
        while position < end:
            tag = body[position]
            length = body[position + 1]
            position += 2
            if tag == 0x40:
                if length > 1:
                    raise _UnusualError
                cookieless = length == 1
                continue
            if length > 127:
                length, position = _varint(body, position - 1)
            stop = position + length
            if stop > end:
                raise _UnusualError
            field = body[position:stop]
            position = stop
            if tag == 0x12:
                pair = entries.get(field)
                if pair is None:
                    pair = self._read_entry(field)
                auto_properties[pair[0]] = pair[1]
            elif tag == 0x1A:
                pair = entries.get(field)
                if pair is None:
                    pair = self._read_entry(field)
                custom_properties[pair[0]] = pair[1]
            elif tag == 0x0A:
                event_id = field.decode()
            elif tag == 0x22:
                distinct_id = field.decode()
            elif tag == 0x2A:
                kind = field.decode()
            elif tag == 0x32:
                occur_time_ms = _instant(field)
            elif tag == 0x3A:
                session_id = field.decode()
            else:
                raise _UnusualError
        return Event(
            event_id=event_id,
            kind=kind,
            occur_time_ms=occur_time_ms,
            distinct_id=distinct_id,
            session_id=session_id,
            cookieless=cookieless,
            auto_properties=auto_properties,
            custom_properties=custom_properties,
        )

    def _read_entry(self, entry: bytes) -> _Pair:
        key_length = entry[1]
        key_end = 2 + key_length
        value_start = key_end + 2
        length = entry[key_end + 1]
        if key_length > 127 or entry[0] != 0x0A or entry[key_end] != 0x12:
            raise _UnusualError
        if length > 127:
            length, value_start = _varint(entry, key_end + 1)
        if value_start + length != len(entry):
            raise _UnusualError
        if 2 < length < 130 and entry[value_start] == 0x0A and entry[value_start + 1] == length - 2:
            pair = (entry[2:key_end].decode(), entry[value_start + 2 :].decode())
        else:
            pair = (entry[2:key_end].decode(), _value(entry, value_start))
        if len(entry) <= _ENTRY_BYTES_MAX:
            if len(self._entries) >= _ENTRIES_MAX:
                self._entries.clear()
            self._entries[entry] = pair
        return pair


def _value(entry: bytes, position: int) -> PropertyValue:
    end = len(entry)
    if position == end:
        return Broken.UNSET
    tag = entry[position]
    if tag == 0x0A:
        length, position = _varint(entry, position + 1)
        if position + length != end:
            raise _UnusualError
        return entry[position:].decode()
    if tag == 0x19 and position + 9 == end:
        return cast("float", _DOUBLE.unpack_from(entry, position + 1)[0])
    if tag == 0x10:
        number, position = _varint(entry, position + 1)
        if position != end:
            raise _UnusualError
        return number - _UINT64 if number >= _INT64_SIGN else number
    if tag == 0x20 and position + 2 == end and entry[position + 1] <= 1:
        return entry[position + 1] == 1
    if tag == 0x2A:
        length, position = _varint(entry, position + 1)
        if position + length != end:
            raise _UnusualError
        return Instant(_instant(entry[position:]))
    raise _UnusualError


def _instant(field: bytes) -> int:
    seconds = nanos = position = 0
    end = len(field)
    if position < end and field[position] == 0x08:
        seconds, position = _varint(field, position + 1)
        if seconds >= _INT64_SIGN:
            seconds -= _UINT64
    if position < end and field[position] == 0x10:
        nanos, position = _varint(field, position + 1)
    if position != end or nanos >= _NANOS_END:
        raise _UnusualError
    return instant_from_parts(seconds, nanos)


def _varint(body: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and where the next field begins."""
    shift = number = 0
    while True:
        byte = body[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > _VARINT_BITS_MAX:
            raise _UnusualError
    if number >= _UINT64:
        raise _UnusualError
    return number, position


def read_with_library(body: bytes) -> Batch:
    """The same batch, read by the protobuf library. Raises ValueError for other bytes."""
    request = BatchCreateRequest.from_binary(body)
    return Batch(events=tuple(_event(event) for event in request.events))


def _event(wire: WireEvent) -> Event:
    return Event(
        event_id=wire.event_id if wire.has_field("event_id") else None,
        kind=wire.kind if wire.has_field("kind") else None,
        occur_time_ms=(
            instant_from_parts(wire.occur_time.seconds, wire.occur_time.nanos)
            if wire.occur_time is not None
            else None
        ),
        distinct_id=wire.distinct_id if wire.has_field("distinct_id") else None,
        session_id=wire.session_id if wire.has_field("session_id") else None,
        cookieless=wire.cookieless,
        auto_properties={key: _typed(value) for key, value in wire.auto_properties.items()},
        custom_properties={key: _typed(value) for key, value in wire.custom_properties.items()},
    )


def _typed(wire: WireValue) -> PropertyValue:
    variant = wire.value
    if variant is None:
        return Broken.UNSET
    if variant.field == "timestamp_value":
        return Instant(instant_from_parts(variant.value.seconds, variant.value.nanos))
    return variant.value
