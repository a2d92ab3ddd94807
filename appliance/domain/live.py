"""What a live view shows: which events, and in which form.

Invariant: an event is told exactly as the event explorer would tell it once it is stored, and
nothing more [dashboards 12]: the row that waits in the queue is the row of the store. A row is read
whole only after the two fields that filters look at were read.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, cast
from uuid import UUID

import msgspec
from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.activity.answers import StoredEvent, render_event
from appliance.domain.ingest.event import parse_instant
from appliance.domain.ingest.promotion import PROMOTED, ColumnValue, read_back
from appliance.domain.ingest.slots import untag

KINDS_MAX: Final = 50
TEXT_CHARACTERS_MAX: Final = 256
VISITOR_WINDOW_SECONDS: Final = 300
VISITOR_LINES_MAX: Final = 10


class LiveFilter(Struct, frozen=True, kw_only=True):
    """Which events somebody wants to see; empty fields ask for all."""

    kinds: frozenset[str] = frozenset()
    distinct_id: str = ""

    def wants(self, glance: "Glance") -> bool:
        """Whether an event is among them; ids are taken literally, as in the explorer."""
        if self.kinds and glance.kind not in self.kinds:
            return False
        return not self.distinct_id or glance.distinct_id == self.distinct_id


class Glance(Struct, frozen=True, gc=False):
    """The fields of a row that filters look at."""

    kind: str
    distinct_id: str


class Line(Struct, frozen=True, kw_only=True):
    """A page or country and how many people are there."""

    value: str
    visitors: int


class Visitors(Struct, frozen=True, kw_only=True, rename="camel"):
    """Who did anything within the window: people, where they look, where they are."""

    visitors: int
    pages: tuple[Line, ...]
    countries: tuple[Line, ...]
    window_seconds: int = VISITOR_WINDOW_SECONDS


class NoteKind(StrEnum):
    """What a watcher is told."""

    EVENT = "event"
    VISITORS = "visitors"
    DROPPED = "dropped"
    """So many events came and are not told, because they were too many."""
    GAP = "gap"
    """The queue was away: nobody knows how many events are not told."""
    END = "end"


class Note(Struct, frozen=True):
    """Something to tell: a kind, and an object as one line of JSON."""

    kind: NoteKind
    body: bytes


class _Row(Struct, frozen=True):
    event_id: str
    kind: str
    distinct_id: str
    session_id: str
    occur_time: str
    auto_properties: dict[str, str] = {}
    custom_properties: dict[str, str] = {}


_LINE_ENDS: Final = {
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
    b"\xc2\x85": b"\\u0085",
}
"""What some readers take for the end of a line, and how JSON may write it."""
_GLANCE: Final = msgspec.json.Decoder(Glance)
_ROW: Final = msgspec.json.Decoder(_Row)
_COLUMNS: Final = msgspec.json.Decoder(dict[str, ColumnValue | dict[str, str]])
_PROMOTED: Final = tuple(promoted.column for promoted in PROMOTED)


def parse_filter(kinds: Sequence[str], distinct_id: str) -> LiveFilter:
    """The filter of a question; raises InvalidInputError (`INVALID_LIVE_FILTER`)."""
    wanted = frozenset(kinds)
    if len(wanted) > KINDS_MAX:
        raise InvalidInputError("INVALID_LIVE_FILTER", f"more than {KINDS_MAX} kinds of events")
    if not all(wanted) or any(len(text) > TEXT_CHARACTERS_MAX for text in (*wanted, distinct_id)):
        raise InvalidInputError(
            "INVALID_LIVE_FILTER",
            f"a kind or an id is empty or longer than {TEXT_CHARACTERS_MAX} characters",
        )
    return LiveFilter(kinds=wanted, distinct_id=distinct_id)


def read_glance(row: bytes) -> Glance:
    """What filters need of a row of the queue; raises ValueError for what is none of ours."""
    return _GLANCE.decode(row)


def tell_event(row: bytes) -> bytes:
    """A row of the queue as JSON of `shared.activity.v1.ActivityEvent`, in one line.

    Raises ValueError for what is none of ours.
    """
    read = _ROW.decode(row)
    columns = _COLUMNS.decode(row)
    values = {name: cast("ColumnValue", columns.get(name)) for name in _PROMOTED}
    event = StoredEvent(
        event_id=read.event_id.lower(),
        kind=read.kind,
        distinct_id=read.distinct_id,
        occur_ms=parse_instant(read.occur_time.replace(" ", "T") + "Z"),
        session_id=str(UUID(read.session_id)),
        auto=read_back(values, {key: untag(text) for key, text in read.auto_properties.items()}),
        custom={key: untag(text) for key, text in read.custom_properties.items()},
    )
    told = render_event(event).to_json().encode()
    for character, escaped in _LINE_ENDS.items():
        told = told.replace(character, escaped)
    return told
