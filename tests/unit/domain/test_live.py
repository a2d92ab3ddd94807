"""Which events a live view shows, and in which form."""

import json

import pytest

from appliance.api.live import read_filter, render_note
from appliance.base.errors import InvalidInputError
from appliance.cli.live import render_event
from appliance.domain.live import (
    KINDS_MAX,
    Glance,
    LiveFilter,
    Note,
    NoteKind,
    parse_filter,
    read_glance,
    tell_event,
)

ROW = {
    "event_id": "3B1F8F7A-1111-4222-8333-444455556666",
    "project_id": "p",
    "distinct_id": "u1",
    "session_id": "3b1f8f7a-1111-4222-8333-444455556667",
    "kind": "page_view",
    "occur_time": "2026-11-21 17:00:00.120",
    "url": "https://x.example/a",
    "bot_score": 7,
    "mobile": True,
    "auto_properties": {"$x": "i5", "$t": "t2026-01-01 00:00:00.000"},
    "custom_properties": {"plan": "spro", "ok": "btrue", "price": "d1.5"},
}


def row(**changes: object) -> bytes:
    return json.dumps({**ROW, **changes}).encode()


def test_an_event_is_told_as_the_explorer_would() -> None:
    """Promoted columns are text among the auto properties again; no project id, no address."""
    assert json.loads(tell_event(row())) == {
        "eventId": "3b1f8f7a-1111-4222-8333-444455556666",
        "kind": "page_view",
        "distinctId": "u1",
        "sessionId": "3b1f8f7a-1111-4222-8333-444455556667",
        "occurTime": "2026-11-21T17:00:00.120Z",
        "autoProperties": {
            "$x": 5,
            "$t": "2026-01-01T00:00:00Z",
            "$url": "https://x.example/a",
            "$bot_score": "7",
            "$mobile": "true",
        },
        "customProperties": {"plan": "pro", "ok": True, "price": 1.5},
    }


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x1e"])
def test_a_frame_is_one_line_for_every_reader(end: str) -> None:
    """Whatever somebody sends as text, it ends no line."""
    body = tell_event(row(kind=f"a{end}b", custom_properties={end: f"s{end}"}))
    assert len(body.decode().splitlines()) == 1
    assert json.loads(body)["customProperties"] == {end: end}
    assert render_note(Note(NoteKind.EVENT, body)) == b"event: event\ndata: " + body + b"\n\n"


@pytest.mark.parametrize(
    "broken",
    [b"", b"{}", b"[]", b"nonsense", row(kind=1), row(occur_time="soon"), row(session_id="s")],
)
def test_a_row_that_is_none_of_ours_is_an_error(broken: bytes) -> None:
    """Never something half told."""
    with pytest.raises((ValueError, AssertionError)):
        tell_event(broken)


def test_filters() -> None:
    """Kinds and a literal id; without either everything."""
    glance = read_glance(row())
    assert glance == Glance("page_view", "u1")
    assert LiveFilter().wants(glance)
    assert parse_filter(["purchase", "page_view"], "").wants(glance)
    assert not parse_filter(["purchase"], "").wants(glance)
    assert parse_filter([], "u1").wants(glance)
    assert not parse_filter(["page_view"], "U1").wants(glance)


@pytest.mark.parametrize(
    ("kinds", "distinct_id"),
    [
        ([str(number) for number in range(KINDS_MAX + 1)], ""),
        ([""], ""),
        (["k" * 257], ""),
        ([], "d" * 257),
    ],
)
def test_filters_are_bounded(kinds: list[str], distinct_id: str) -> None:
    """Nobody makes every event expensive."""
    with pytest.raises(InvalidInputError) as refused:
        parse_filter(kinds, distinct_id)
    assert refused.value.reason == "INVALID_LIVE_FILTER"


@pytest.mark.parametrize(
    "query",
    [b"since=1", b"kind=%ff", b"\xff=1", b"distinct_id=a&distinct_id=b", b"kind=", b"&" * 20_000],
)
def test_a_question_we_do_not_know_is_refused(query: bytes) -> None:
    """An unknown parameter is an error, never everything."""
    with pytest.raises(InvalidInputError):
        read_filter(query)


def test_a_question() -> None:
    """Names and values are unquoted; nothing asks for everything."""
    assert read_filter(b"") == LiveFilter()
    assert read_filter(b"kind=a%20b&kind=c&distinct_id=%C3%A4") == LiveFilter(
        kinds=frozenset({"a b", "c"}), distinct_id="ä"
    )


def test_a_line_of_the_tail_is_printable() -> None:
    """What somebody sent cannot steer the terminal."""
    told = json.loads(tell_event(row(kind="\x1b[2J", custom_properties={"\x9b": "s\x07"})))
    assert render_event(told).isprintable()
