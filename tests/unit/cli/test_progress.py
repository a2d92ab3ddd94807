"""The three voices of a long operation."""

import io
import json

import pytest

from appliance.cli.progress import human_bytes, open_progress
from tests.support.clocks import FixedClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_name_each_step_with_its_seconds() -> None:
    stream = io.StringIO()
    with open_progress(stream=stream, clock=FixedClock()) as progress:
        progress.begin("copy", "copying the release")
        progress.note("the disk is slow")
        progress.end("copy", 1.25)
    assert stream.getvalue() == "the disk is slow\ncopying the release: 1.25 s\n"


def test_lines_tell_amounts_every_few_seconds_only() -> None:
    stream, clock = io.StringIO(), FixedClock()
    with open_progress(stream=stream, clock=clock) as progress:
        progress.begin("copy", "copying the release")
        for done in range(0, 101, 10):
            clock.advance(1)
            progress.amount(done * 10**6, 100 * 10**6)
        progress.end("copy", 11)
    assert stream.getvalue().splitlines() == [
        "copying the release: 40%, 40.0 MB of 100.0 MB",
        "copying the release: 90%, 90.0 MB of 100.0 MB",
        "copying the release: 11.00 s",
    ]


def test_a_step_that_failed_is_said_to_be_not_done() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError):
        _fail(stream)
    assert stream.getvalue() == "copying the release: not done\n"


def _fail(stream: io.StringIO) -> None:
    with open_progress(stream=stream, clock=FixedClock()) as progress:
        progress.begin("copy", "copying the release")
        raise RuntimeError


def test_a_terminal_line_is_drawn_anew_and_ends_with_the_seconds() -> None:
    stream, clock = Terminal(), FixedClock()
    with open_progress(stream=stream, clock=clock) as progress:
        progress.begin("copy", "copying the release")
        progress.amount(1, 100)
        clock.advance(0.5)
        progress.amount(50, 100)
        progress.end("copy", 1.0)
    drawn = stream.getvalue().split("\r\x1b[K")[1:]
    assert drawn[0] == "  copying the release"
    assert "[########--------]  50%" in drawn[1]
    assert drawn[2].split() == ["copying", "the", "release", "1.00", "s"]
    assert stream.getvalue().endswith("\n")


def test_steps_inside_a_step_come_back_to_it() -> None:
    stream = Terminal()
    with open_progress(stream=stream, clock=FixedClock()) as progress:
        progress.begin("restore-point", "taking a restore point")
        progress.begin("postgres", "reading PostgreSQL")
        progress.end("postgres", 1.0)
        progress.end("restore-point", 2.0)
    drawn = stream.getvalue().split("\r\x1b[K")[1:]
    assert [text.strip().split("  ")[0] for text in drawn] == [
        "taking a restore point",
        "reading PostgreSQL",
        "reading PostgreSQL",
        "taking a restore point",
        "taking a restore point",
    ]


def test_json_is_one_object_a_line() -> None:
    stream, clock = io.StringIO(), FixedClock()
    with open_progress(as_json=True, stream=stream, clock=clock) as progress:
        progress.begin("copy", "copying the release")
        clock.advance(1)
        progress.amount(5, 10, "files")
        progress.note("so far")
        progress.end("copy", 1.23456)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"event": "begun", "step": "copy", "title": "copying the release"},
        {"event": "amount", "step": "copy", "done": 5, "total": 10, "unit": "files"},
        {"event": "note", "text": "so far"},
        {"event": "ended", "step": "copy", "seconds": 1.235},
    ]


def test_a_closed_stream_stops_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    progress = open_progress(as_json=True, stream=stream, clock=FixedClock())
    progress.begin("copy", "copying")
    progress.end("copy", 1.0)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (312_400_000, "312.4 MB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text
