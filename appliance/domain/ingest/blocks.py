"""What one insert of the events worker is made of: messages in, one block of rows out.

Invariant: a block is a function of the messages in its range of the stream and of the decision
recorded for it (`Block`), so that a retry after any crash builds the same rows again (decision
0002). Identity is [ingestion 13]: project, UTC minute, kind, event id. Of rows with one identity
the first is kept: counting once is what matters, and a row that is already summed in roll-ups
cannot be taken back. Hot path, measured by `tests/bench/events_worker.py`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from appliance.base.errors import InvalidInputError

WHOLE_MESSAGE: Final = (-1,)
"""Positions of a message all of whose rows are left out."""

ROWS_UNREADABLE: Final = "ROWS_UNREADABLE"
_MINUTE_CHARACTERS: Final = len("2026-03-04 05:06")
COOKIELESS_PREFIX: Final = "cookieless-"
_EVENT_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OCCUR_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
)


class Row(Struct, frozen=True, gc=False):
    """The part of a row that the worker looks at; the rest passes through unread.

    Forms are not checked here, because a pattern for each row costs more than everything else: see
    `find_malformed`.
    """

    event_id: Annotated[str, Meta(min_length=36, max_length=36)]
    project_id: Annotated[str, Meta(min_length=1)]
    kind: Annotated[str, Meta(min_length=1)]
    occur_time: Annotated[str, Meta(min_length=19, max_length=29)]
    session_id: str
    distinct_id: str
    auto_properties: msgspec.Raw = msgspec.Raw()
    custom_properties: msgspec.Raw = msgspec.Raw()


Identity = tuple[str, str, str, str]
"""Which event a row is [ingestion 13]: project, minute as `YYYY-MM-DD hh:mm`, kind, event id in
lower case. A plain tuple, because one is made for every event."""


class Message(Struct, frozen=True, kw_only=True):
    """One readable queue message: where it stands in the stream, its rows and their lines."""

    sequence: int
    lines: tuple[bytes, ...]
    rows: tuple[Row, ...]
    identities: tuple[Identity, ...]


class Block(Struct, frozen=True, kw_only=True):
    """The recorded decision about one insert.

    `number` grows with every block and stands in every row and roll-up row it makes. `first` and
    `last` are stream sequences. `left_out` tells, per sequence, which rows are not inserted because
    their event is stored already; `dead` are messages that went to the dead letters. `repairs`
    counts attempts, so that each has a token of its own.
    """

    number: int
    first: int
    last: int
    left_out: dict[int, tuple[int, ...]] = msgspec.field(default_factory=dict[int, tuple[int, ...]])
    dead: tuple[int, ...] = ()
    repairs: int = 0


_DECODER: Final = msgspec.json.Decoder(Row)


def parse_message(sequence: int, payload: bytes) -> Message:
    """The rows of a message; raises InvalidInputError for a payload that is not such rows."""
    try:
        rows = tuple(_DECODER.decode_lines(payload))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(
            ROWS_UNREADABLE, f"the message is not rows of events: {error}"
        ) from error
    lines = payload.rstrip().split(b"\n") if rows else []
    if len(lines) != len(rows) or any(line[:1] != b"{" for line in lines):
        raise InvalidInputError(ROWS_UNREADABLE, "the message is not one row a line")
    return Message(
        sequence=sequence,
        lines=tuple(lines),
        rows=rows,
        identities=tuple([identify(row) for row in rows]),
    )


def find_malformed(messages: Sequence[Message]) -> tuple[int, ...]:
    """Sequences of messages with an event id or a time that the event store cannot read.

    Asked only after the store refused to look rows up.
    """
    return tuple(
        message.sequence
        for message in messages
        if any(
            not (_EVENT_ID.fullmatch(row.event_id) and _OCCUR_TIME.fullmatch(row.occur_time))
            for row in message.rows
        )
    )


def identify(row: Row) -> Identity:
    """Which event a row is; two spellings of one UUID are one event."""
    return (
        row.project_id,
        row.occur_time[:_MINUTE_CHARACTERS],
        row.kind,
        row.event_id.lower(),
    )


def plan_left_out(
    messages: Sequence[Message], stored: AbstractSet[Identity]
) -> dict[int, tuple[int, ...]]:
    """Which rows of which messages not to insert: those stored already, and repetitions here."""
    seen: set[Identity] = set()
    left_out: dict[int, tuple[int, ...]] = {}
    for message in messages:
        positions: list[int] = []
        for position, identity in enumerate(message.identities):
            if identity in seen or identity in stored:
                positions.append(position)
            else:
                seen.add(identity)
        if positions:
            whole = len(positions) == len(message.rows)
            left_out[message.sequence] = WHOLE_MESSAGE if whole else tuple(positions)
    return left_out


def kept_rows(messages: Sequence[Message], block: Block) -> Iterator[tuple[Row, bytes]]:
    """The rows that the block inserts, each with its line, in order."""
    for message in messages:
        skipped = _skipped(message, block)
        if skipped is None:
            continue
        for position, row in enumerate(message.rows):
            if position not in skipped:
                yield row, message.lines[position]


def render_block(
    messages: Sequence[Message], block: Block, columns: Mapping[str, int | str]
) -> tuple[bytes, ...]:
    """The lines that the block inserts, with `columns` set in each row; empty for no row."""
    opening = msgspec.json.encode(columns)[:-1] + b","
    chunks: list[bytes] = []
    for message in messages:
        skipped = _skipped(message, block)
        if skipped is None:
            continue
        lines = [
            opening + line[1:]
            for position, line in enumerate(message.lines)
            if position not in skipped
        ]
        if lines:
            chunks.append(b"\n".join(lines) + b"\n")
    return tuple(chunks)


def count_kept(messages: Sequence[Message], block: Block) -> int:
    """How many rows the block inserts."""
    skips = [(message, _skipped(message, block)) for message in messages]
    return sum(len(one.rows) - len(skipped) for one, skipped in skips if skipped is not None)


def _skipped(message: Message, block: Block) -> frozenset[int] | None:
    """Positions of a message that are left out; None for all of them."""
    positions = block.left_out.get(message.sequence, ())
    if message.sequence in block.dead or positions == WHOLE_MESSAGE:
        return None
    return frozenset(positions)
