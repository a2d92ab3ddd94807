"""A record of a file, a line of JSON or a row of a table, as an event of ours.

Invariant: the fields of an event have fixed names (`FIELDS`), or those a mapping gives them; every
other column is a property under its own name, automatic when it starts with `$`. What our own
export writes reads back as the same event. The formats of other systems are in `foreign.py`.
"""

from collections.abc import Mapping
from typing import Final, cast

import msgspec
from msgspec import Struct, field

from appliance.domain.compat.mapped import Reception, event_id, session_id
from appliance.domain.ingest.event import Event, Properties
from appliance.domain.ingest.slots import text_of
from appliance.domain.moving.values import (
    TEXT_ID_CHARACTERS_MAX,
    Refused,
    read_properties,
    read_time,
    read_value,
)

Record = Mapping[str, object]
"""One line of JSON or one row of a table, as the file has it."""

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "event_id": ("event_id", "eventId"),
    "kind": ("kind",),
    "occur_time": ("occur_time", "occurTime"),
    "distinct_id": ("distinct_id", "distinctId"),
    "session_id": ("session_id", "sessionId"),
}
"""The fields of an event and the columns they are looked for in."""

_OBJECTS: Final = {
    "auto_properties": True,
    "autoProperties": True,
    "custom_properties": False,
    "customProperties": False,
    "properties": None,
}
"""Columns that hold properties: automatic ones, custom ones, or both."""
_NOT_KEPT: Final = frozenset({"project_id", "insert_time", "insert_block", "$ip"})
"""Columns of our own export that an event does not have, and addresses [ingestion 5]."""


class Columns(Struct, frozen=True, kw_only=True):
    """Which column is what; `kind` is the kind of every record that names none.

    `renamed` goes from a column to a field or to the name of a property. The number columns of a
    table stay numbers with a fraction, although JSON writes 1.0 as 1.
    """

    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    ignored: frozenset[str] = frozenset()
    kind: str = ""
    fractions: frozenset[str] = frozenset()


class _Parts(Struct, kw_only=True):
    fields: dict[str, object] = field(default_factory=dict[str, object])
    auto: Properties = field(default_factory=dict)
    custom: Properties = field(default_factory=dict)

    def put(self, key: str, raw: object) -> None:
        value = read_value(raw)
        if value is not None:
            (self.auto if key[:1] == "$" else self.custom)[key] = value


_COLUMN_OF_FIELD: Final = {name: known for known, names in FIELDS.items() for name in names}


def read_record(project_id: str, record: Record, columns: Columns) -> Event:
    """The event that a record tells; raises Refused when it tells none.

    Without an event id, equal records are one event. Without a session, what a person did on one
    UTC day is one session.
    """
    parts = _Parts()
    for column, raw in record.items():
        if column not in columns.ignored:
            _place(parts, column, raw, columns)
    occur_time_ms = read_time(_required(parts, "occur_time"))
    distinct_id = _text(_required(parts, "distinct_id"), "distinct_id")
    kind = _text(parts.fields.get("kind") or columns.kind or _required(parts, "kind"), "kind")
    # ids are made as for clients of other systems, of what is told and never of when it came
    reception = Reception(project_id=project_id, received_ms=occur_time_ms)
    return Event(
        event_id=event_id(reception, _optional(parts, "event_id"), record, occur_time_ms),
        kind=kind,
        occur_time_ms=occur_time_ms,
        distinct_id=distinct_id,
        session_id=session_id(
            reception, _optional(parts, "session_id"), distinct_id, occur_time_ms
        ),
        auto_properties=parts.auto,
        custom_properties=parts.custom,
    )


def _place(parts: _Parts, column: str, raw: object, columns: Columns) -> None:
    if raw is None or raw == "":
        return
    name = columns.renamed.get(column, column)
    if column in columns.fractions and type(raw) is int:
        raw = float(raw)
    known = _COLUMN_OF_FIELD.get(name)
    if known is not None:
        parts.fields[known] = raw
    elif name in _OBJECTS:
        _place_object(parts, name, raw)
    elif name == "cookieless":
        if raw not in (False, "false"):
            raise Refused("a cookieless event has no identity outside the request it came in")
    elif name not in _NOT_KEPT:
        parts.put(name, raw)


def _place_object(parts: _Parts, name: str, raw: object) -> None:
    if isinstance(raw, str):
        try:
            raw = cast("object", msgspec.json.decode(raw))
        except (msgspec.DecodeError, RecursionError) as error:
            raise Refused(f"{name} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise Refused(f"{name} is not an object")
    found = cast("dict[str, object]", raw)
    automatic = _OBJECTS[name]
    if automatic is None:
        for key, inner in found.items():
            parts.put(key, inner)
    else:
        (parts.auto if automatic else parts.custom).update(read_properties(found))


def _required(parts: _Parts, name: str) -> object:
    raw = parts.fields.get(name)
    if raw is None:
        raise Refused(f"there is no {name}")
    return raw


def _optional(parts: _Parts, name: str) -> str | None:
    raw = parts.fields.get(name)
    return None if raw is None else _text(raw, name)


def _text(raw: object, name: str) -> str:
    if isinstance(raw, (dict, list)):
        raise Refused(f"{name} is not text")
    text = text_of(read_value(raw))
    if not text:
        raise Refused(f"there is no {name}")
    if len(text) > TEXT_ID_CHARACTERS_MAX:
        raise Refused(f"{name} has more than {TEXT_ID_CHARACTERS_MAX} characters")
    return text
