"""From bytes to entries, within limits."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.supervisor.lines import (
    Entry,
    LineBudget,
    LineSplitter,
    ParsedLine,
    as_fields,
    decode_entry,
    normal_level,
    parse_plain,
    parse_structured,
    severity,
)


def entry(**changes: object) -> Entry:
    """An entry with something in every field."""
    return msgspec.structs.replace(
        Entry(
            timestamp="2026-01-01T00:00:00.000+00:00",
            level="info",
            component="api",
            pid=7,
            restart=1,
            event="started",
            fields={"port": 1},
        ),
        **changes,
    )


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_cuts_do_not_depend_on_the_pieces(pieces: list[bytes], limit: int) -> None:
    """The same lines come out however the bytes arrive, none longer than the limit."""
    whole = LineSplitter(limit)
    expected = [*whole.feed(b"".join(pieces)), *whole.flush()]
    splitter = LineSplitter(limit)
    lines = [line for piece in pieces for line in splitter.feed(piece)] + list(splitter.flush())
    assert lines == expected
    assert all(
        len(line.removesuffix(" [cut]").encode("utf-8", "replace")) <= 3 * limit for line in lines
    )


def test_a_long_line_is_cut_and_says_so() -> None:
    """The next line is whole again."""
    splitter = LineSplitter(4)
    assert list(splitter.feed(b"123456\nab\r\n")) == ["1234 [cut]", "ab"]
    assert list(splitter.flush()) == []


def test_a_second_has_a_budget() -> None:
    """What does not fit is counted once."""
    budget = LineBudget(2)
    assert [budget.admits(1.0), budget.admits(1.5), budget.admits(1.9)] == [True, True, False]
    assert budget.admits(2.0)
    assert budget.take_dropped() == 1
    assert budget.take_dropped() == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words", ParsedLine(level="info", event="plain words")),
        ("ERROR: no", ParsedLine(level="error", event="no")),
        ("[WARNING] hm", ParsedLine(level="warning", event="hm")),
        ("pug-appliance: no; do", ParsedLine(level="error", event="no; do")),
        ("{broken", ParsedLine(level="info", event="{broken")),
        (
            '{"event":"x","level":"warn","n":1,"pid":5}',
            ParsedLine(level="warning", event="x", fields={"n": 1}),
        ),
        ('{"level":3}', ParsedLine(level="info", event="")),
    ],
)
def test_lines_of_our_programs(text: str, expected: ParsedLine) -> None:
    """JSON with event and level, or free text."""
    assert parse_structured(text) == expected


def test_free_text_keeps_its_words() -> None:
    """Only a level in front is a level."""
    assert parse_plain("an ERROR: inside").level == "info"


def test_levels_have_one_name() -> None:
    """What others call fatal is critical here; unknown words are info."""
    assert [normal_level(word) for word in ("WARN", "fatal", "Debug", "noise")] == [
        "warning",
        "critical",
        "debug",
        "info",
    ]
    assert severity("error") > severity("warning") > severity("info") > severity("debug")


def test_an_entry_survives_its_file() -> None:
    """Fields cannot overwrite what the supervisor says."""
    assert decode_entry(entry().encode()) == entry()
    strange = decode_entry(entry(fields={"pid": "x", "n": 2}).encode())
    assert strange == entry(fields={"n": 2})


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"level":"info"}'])
def test_a_damaged_line_is_no_entry(line: bytes) -> None:
    """A cut off write after a crash."""
    assert decode_entry(line) is None


def test_a_struct_becomes_fields() -> None:
    """For notes."""
    assert as_fields(ParsedLine(level="info", event="x")) == {
        "level": "info",
        "event": "x",
        "fields": {},
    }
