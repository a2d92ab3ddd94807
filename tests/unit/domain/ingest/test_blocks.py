"""What one insert of the events worker is made of."""

import json

import pytest

from appliance.base.errors import InvalidInputError
from appliance.domain.ingest.blocks import (
    WHOLE_MESSAGE,
    Block,
    count_kept,
    find_malformed,
    identify,
    kept_rows,
    parse_message,
    plan_left_out,
    render_block,
)

ID = "6f1d9f62-0c7b-4d0e-8a55-3f0a9b1c2d0{}"


def make_row(number: int = 1, **changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "event_id": ID.format(number),
        "project_id": "p1",
        "distinct_id": "anon",
        "session_id": ID.format(9),
        "kind": "purchase",
        "occur_time": "2026-02-28 23:59:30.500",
    }
    return {**row, **changes}


def payload(*rows: dict[str, object]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows) + b"\n"


def block(**changes: object) -> Block:
    return Block(**({"number": 7, "first": 1, "last": 2} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"occur_time": "2026-02-28 23:59:01.000"}, True),
        ({"occur_time": "2026-02-28 23:58:59.999"}, False),
        ({"occur_time": "2026-03-01 00:00:00.000"}, False),
        ({"kind": "refund"}, False),
        ({"event_id": ID.format(2)}, False),
        ({"event_id": ID.format(1).upper()}, True),
        ({"distinct_id": "other"}, True),
        ({"session_id": ID.format(8)}, True),
        ({"project_id": "p2"}, False),
    ],
)
def test_identity(changes: dict[str, object], *, same: bool) -> None:
    """Project, UTC minute, kind and id make an event; nothing else does [ingestion 13]."""
    first = parse_message(1, payload(make_row())).rows[0]
    second = parse_message(2, payload(make_row(**changes))).rows[0]
    assert (identify(first) == identify(second)) is same


def test_repetitions_are_left_out_once() -> None:
    """Of rows with one identity the first is kept, also across messages of a block."""
    one = parse_message(1, payload(make_row(1), make_row(2), make_row(1)))
    two = parse_message(2, payload(make_row(2), make_row(1)))
    assert plan_left_out([one, two], set()) == {1: (2,), 2: WHOLE_MESSAGE}


def test_stored_events_are_left_out() -> None:
    """What the event store has already is not inserted again."""
    message = parse_message(1, payload(make_row(1), make_row(2)))
    stored = {("p1", "2026-02-28 23:59", "purchase", ID.format(2))}
    assert plan_left_out([message], stored) == {1: (1,)}


def test_render_names_the_block_in_every_row() -> None:
    """Every inserted line carries the block's number and is otherwise unchanged."""
    message = parse_message(1, payload(make_row(1, custom_properties={"a": "s{\n{"}), make_row(2)))
    lines = b"".join(render_block([message], block(), {"insert_block": 7})).splitlines()
    assert [json.loads(line)["insert_block"] for line in lines] == [7, 7]
    assert json.loads(lines[0])["custom_properties"] == {"a": "s{\n{"}


def test_render_leaves_rows_and_dead_messages_out() -> None:
    """A retry builds the same rows from the recorded decision."""
    one = parse_message(1, payload(make_row(1), make_row(2), make_row(3)))
    two = parse_message(2, payload(make_row(4)))
    decided = block(left_out={1: (1,)}, dead=(2,))
    lines = b"".join(render_block([one, two], decided, {"insert_block": 7})).splitlines()
    assert [json.loads(line)["event_id"] for line in lines] == [ID.format(1), ID.format(3)]
    assert [row.event_id for row, _ in kept_rows([one, two], decided)] == [
        ID.format(1),
        ID.format(3),
    ]
    assert count_kept([one, two], decided) == 2


def test_render_of_nothing_is_empty() -> None:
    """A block whose rows are all stored inserts nothing."""
    message = parse_message(1, payload(make_row(1)))
    decided = block(left_out={1: WHOLE_MESSAGE})
    assert render_block([message], decided, {"insert_block": 7}) == ()
    assert count_kept([message], decided) == 0


@pytest.mark.parametrize(
    "bad",
    [
        b"not json",
        b'{"event_id": "x"}',
        b"[1]",
        payload(make_row(event_id="6f1d9f620c7b4d0e8a553f0a9b1c2d01")),
        payload(make_row(project_id="")),
        json.dumps(make_row(), indent=1).encode() + b"\n" + json.dumps(make_row(2)).encode(),
        b" " + payload(make_row()),
        b"\xff\xfe",
    ],
)
def test_poison_is_named(bad: bytes) -> None:
    """A payload that is not one row a line is refused with a reason, never with another error."""
    with pytest.raises(InvalidInputError) as caught:
        parse_message(1, bad)
    assert caught.value.reason == "ROWS_UNREADABLE"


def test_malformed_rows_are_found() -> None:
    """What has the right length and the wrong form is named when the store refuses it."""
    good = parse_message(1, payload(make_row()))
    bad_time = parse_message(2, payload(make_row(), make_row(2, occur_time="2026-02-28T23:59:30Z")))
    bad_id = parse_message(3, payload(make_row(event_id="x" * 36)))
    assert find_malformed([good, bad_time, bad_id]) == (2, 3)


def test_empty_message_has_no_rows() -> None:
    """An empty message is fine and brings nothing [workers vectors: zero events]."""
    assert parse_message(1, b"").rows == ()
