"""Kept events to NDJSON in the exact shape of the event store's table `events` [storage 2].

Invariant: one line is one event with only the columns that differ from their default, so the
engine inserts the bytes as they are (`FORMAT JSONEachRow`). Typed slots are tagged text: see
`slots.py` and decision 0001. Hot path, measured by `tests/bench/ingest_domain.py`.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.ingest.event import CheckedEvent, Properties, PropertyValue
from appliance.domain.ingest.promotion import (
    CONVERTERS,
    PROMOTED,
    ColumnKind,
    ColumnValue,
    Promoted,
)
from appliance.domain.ingest.slots import instant_text, tag, text_of

_Row = dict[str, ColumnValue | dict[str, str]]

_ENCODER: Final = msgspec.json.Encoder()


class _OddColumn(Struct, frozen=True):
    column: str
    convert: Callable[[PropertyValue], ColumnValue]
    default: ColumnValue


def _place_of(promoted: Promoted) -> str | _OddColumn:
    if promoted.kind is ColumnKind.TEXT:
        return promoted.column
    default = False if promoted.kind is ColumnKind.FLAG else None
    return _OddColumn(promoted.column, CONVERTERS[promoted.kind], default)


_PLACES: Final = {promoted.property: _place_of(promoted) for promoted in PROMOTED}
"""Where a promoted property goes; a bare name is a text column, which most of them are."""


class Block(Struct, frozen=True):
    """Rows that travel in one queue message."""

    body: bytes
    rows: int


class Split(Struct, frozen=True):
    """Auto properties on their way into the store: columns that are not at their default, and the
    tagged rest [ingestion 14].
    """

    columns: dict[str, ColumnValue]
    rest: dict[str, str]


def encode_blocks(
    project_id: str, events: Sequence[CheckedEvent], *, bytes_max: int
) -> tuple[Block, ...]:
    """The rows of all events, in order, in as few blocks as `bytes_max` allows; none for none.

    Raises InvalidInputError when a single event does not fit.
    """
    assert project_id, "rows without a project"
    if not events:
        return ()
    body = encode_rows(project_id, events)
    if len(body) <= bytes_max:
        return (Block(body, len(events)),)
    if len(events) == 1:
        raise InvalidInputError(
            "INVALID_EVENT_BATCH", f"one event is larger than {bytes_max} bytes when stored"
        )
    middle = len(events) // 2
    return encode_blocks(project_id, events[:middle], bytes_max=bytes_max) + encode_blocks(
        project_id, events[middle:], bytes_max=bytes_max
    )


def encode_rows(project_id: str, events: Sequence[CheckedEvent]) -> bytes:
    """One JSON object a line, each line ended by a newline."""
    return _ENCODER.encode_lines([_row(project_id, event) for event in events])


def split_auto_properties(properties: Properties) -> Split:
    """Promoted columns and the rest of an event's auto properties [ingestion 14, promotion]."""
    columns: dict[str, ColumnValue] = {}
    rest: dict[str, str] = {}
    for key, value in properties.items():
        place = _PLACES.get(key)
        if place is None:
            rest[key] = "s" + value if type(value) is str else tag(value)
        elif isinstance(place, str):
            text = value if type(value) is str else text_of(value)
            if text:
                columns[place] = text
            elif text is None:
                rest[key] = tag(value)
        elif (stored := place.convert(value)) is None:
            rest[key] = tag(value)
        elif stored != place.default:
            columns[place.column] = stored
    return Split(columns, rest)


def _row(project_id: str, event: CheckedEvent) -> _Row:
    assert event.distinct_id, "an event without identity reached the store"
    assert event.session_id, "an event without session reached the store"
    split = split_auto_properties(event.auto_properties)
    row: _Row = {
        "event_id": event.event_id,
        "project_id": project_id,
        "distinct_id": event.distinct_id,
        "session_id": event.session_id,
        "kind": event.kind,
        "occur_time": instant_text(event.occur_time_ms),
        **split.columns,
    }
    if split.rest:
        row["auto_properties"] = split.rest
    if event.custom_properties:
        row["custom_properties"] = {
            key: "s" + value if type(value) is str else tag(value)
            for key, value in event.custom_properties.items()
        }
    return row
