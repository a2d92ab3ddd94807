"""What an erasure is: whose traces are meant, what of a message is theirs, what the receipt says.

Invariant: pure. An id matches exactly, within its project; what cannot be read is theirs when it
holds one of their ids as text, because a poisonous message must not keep a person's data.
The steps in time are in `services/erasing.py` [profiles 9].
"""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

IDS_MAX: Final = 1000
"""Ids that one statement names [profiles 9]."""
ID_BYTES_MAX: Final = 8192
"""Bytes of ids that one statement names, because they travel in a request line."""
ERROR_BYTES_MAX: Final = 1024
_SHORT_BYTES_MAX: Final = 127
NOT_ERASED: Final = (
    "daily counts and their estimates of distinct visitors",
    "counts of event names",
    "names of properties",
    "the record of this request",
)
"""What has no key of a person and stays [profiles 9.7]; words of the receipt."""


class ErasureStatus(StrEnum):
    """How far an erasure is [profiles 7]."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class StreamMark(Struct, frozen=True, kw_only=True):
    """A place in a stream: everything up to `sequence` of the `life` of that stream."""

    life: str
    sequence: int


class QueueMarks(Struct, frozen=True, kw_only=True):
    """What was on the queue when the ids were frozen."""

    events: StreamMark
    profiles: StreamMark


class Traces(Struct, frozen=True, kw_only=True):
    """How many things of a person there are, by where they are."""

    events: int = 0
    session_rollups: int = 0
    activity: int = 0
    aliases: int = 0
    read_profiles: int = 0
    profiles: int = 0
    devices: int = 0
    queued: int = 0
    dead_letters: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(msgspec.structs.astuple(self))


class ErasureReceipt(Struct, frozen=True, kw_only=True):
    """The proof in the ledger: what was found first, what a count after the last step found.

    `mixed_messages` are messages of the events queue that also hold other people's events; they
    stay there, stored and acknowledged, until the queue's retention takes them (decision 0024).
    """

    found: Traces
    remaining: Traces
    mixed_messages: int = 0
    sweeps: int = 1


class Subject(Struct, frozen=True, kw_only=True):
    """Whose traces an erasure takes away."""

    project_id: str
    profile_id: str
    external_id: str
    distinct_ids: tuple[str, ...]


class ErasureView(Struct, frozen=True, kw_only=True):
    """A request as it stands in the ledger."""

    id: str
    project_id: str
    profile_id: str
    external_id: str
    status: ErasureStatus
    distinct_ids: tuple[str, ...] | None
    session_ids: tuple[str, ...] | None
    events_affected: int
    requested_by: str | None
    requested_at: datetime
    completed_at: datetime | None
    error: str | None
    marks: QueueMarks | None = None
    receipt: ErasureReceipt | None = None


def unite_ids(*groups: Iterable[str]) -> tuple[str, ...]:
    """All ids in order, each once, blank ones left out."""
    return tuple(dict.fromkeys(one for group in groups for one in group if one.strip()))


def chunk_ids(ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Ids in groups that one statement can name."""
    group: list[str] = []
    size = 0
    for one in ids:
        length = len(one.encode())
        if group and (len(group) == IDS_MAX or size + length > ID_BYTES_MAX):
            yield tuple(group)
            group, size = [], 0
        group.append(one)
        size += length
    if group:
        yield tuple(group)


def short_error(text: str) -> str:
    """A cause that fits the ledger: at most 1024 bytes, cut between characters."""
    return text.encode()[:ERROR_BYTES_MAX].decode(errors="ignore")


class Split(Struct, frozen=True, kw_only=True):
    """The lines of a message of events: how many are the person's, and the others."""

    theirs: int
    others: tuple[bytes, ...]


class _Line(Struct, frozen=True, gc=False):
    project_id: str = ""
    distinct_id: str = ""


_LINE: Final = msgspec.json.Decoder(_Line)


def split_events(payload: bytes, project_id: str, ids: AbstractSet[str]) -> Split:
    """Tell the person's rows of a message of events from the others'."""
    others: list[bytes] = []
    theirs = 0
    for line in payload.splitlines():
        if not line.strip():
            continue
        if _is_theirs(line, project_id, ids):
            theirs += 1
        else:
            others.append(line)
    return Split(theirs=theirs, others=tuple(others))


def take_events(payload: bytes, project_id: str, ids: AbstractSet[str]) -> tuple[bytes, ...]:
    """The person's lines of a message of events."""
    return tuple(line for line in payload.splitlines() if _is_theirs(line, project_id, ids))


def mentions(payload: bytes, project_id: str, ids: AbstractSet[str]) -> bool:
    """Whether an unreadable binary message holds the project and an id of the person as a field."""
    return _field(project_id) in payload and any(_field(one) in payload for one in ids)


def _field(text: str) -> bytes:
    """A text as it stands in a binary message: with its length before it, where that is a byte."""
    raw = text.encode()
    return bytes((len(raw),)) + raw if len(raw) <= _SHORT_BYTES_MAX else raw


def _is_theirs(line: bytes, project_id: str, ids: AbstractSet[str]) -> bool:
    try:
        row = _LINE.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        quoted = msgspec.json.encode
        return quoted(project_id) in line and any(quoted(one) in line for one in ids)
    return row.project_id == project_id and row.distinct_id in ids
