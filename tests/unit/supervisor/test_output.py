"""Files of log lines, capped and turned over."""

import json
from pathlib import Path

import pytest

from appliance.base.clock import SystemClock
from appliance.supervisor.lines import Entry, ParsedLine, parse_structured
from appliance.supervisor.output import (
    LogBook,
    LogFile,
    LogPolicy,
    OutputSink,
    log_path,
    logged_components,
    turned,
)


def test_a_file_is_turned_over_at_its_size(tmp_path: Path) -> None:
    """The oldest is forgotten, the modes are private."""
    path = log_path(tmp_path, "api")
    file = LogFile(path, LogPolicy(file_bytes_max=10, files_max=3))
    for number in range(8):
        file.append(b"line %d\n" % number)
    file.close()
    assert path.read_bytes() == b"line 7\n"
    assert turned(path, 1).read_bytes() == b"line 6\n"
    assert turned(path, 2).read_bytes() == b"line 5\n"
    assert not turned(path, 3).exists()
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_file_may_be_enough(tmp_path: Path) -> None:
    """Then it begins anew."""
    path = tmp_path / "x.jsonl"
    file = LogFile(path, LogPolicy(file_bytes_max=10, files_max=1))
    file.append(b"line 0\n")
    file.append(b"line 1\n")
    file.close()
    assert [one.name for one in tmp_path.iterdir()] == ["x.jsonl"]
    assert path.read_bytes() == b"line 1\n"


def test_a_line_that_cannot_be_written_is_lost_and_counted(tmp_path: Path) -> None:
    """And nobody is disturbed."""
    file = LogFile(tmp_path / "no" / "x.jsonl", LogPolicy())
    file.append(b"line\n")
    assert file.lost == 1


def test_a_link_in_place_of_a_log_is_not_followed(tmp_path: Path) -> None:
    """Root must not write where a link points to."""
    (tmp_path / "x.jsonl").symlink_to(tmp_path / "elsewhere")
    file = LogFile(tmp_path / "x.jsonl", LogPolicy())
    file.append(b"line\n")
    assert file.lost == 1
    assert not (tmp_path / "elsewhere").exists()


def test_lines_below_the_level_are_not_kept(tmp_path: Path) -> None:
    """And nobody hears of them."""
    heard: list[Entry] = []
    book = LogBook(
        tmp_path, clock=SystemClock(), policy=LogPolicy(level="warning"), listener=heard.append
    )
    book.write("api", ParsedLine(level="info", event="quiet"), pid=1)
    book.write("api", ParsedLine(level="error", event="loud"), pid=1)
    book.note("api", "component_ready")
    book.close()
    assert [entry.event for entry in heard] == ["loud"]
    assert logged_components(tmp_path) == ("api",)


@pytest.mark.parametrize(
    ("printed", "cause"),
    [
        (b"one\ntwo\n", "two"),
        (b"ERROR: no room\nbye\n", "no room"),
        (b'{"event":"x","level":"error"}\n\tat line 3\nINFO: end\n', "x"),
        (b"\n  \n", ""),
        (b"half", "half"),
    ],
)
def test_the_cause_is_the_last_of_the_gravest_lines(
    tmp_path: Path, printed: bytes, cause: str
) -> None:
    """What follows an error is its echo."""
    clock = SystemClock()
    book = LogBook(tmp_path, clock=clock)
    sink = OutputSink(book, "api", parse=parse_structured, clock=clock, restart=2)
    sink.pid = 9
    sink.feed(printed)
    sink.close()
    book.close()
    assert sink.last_line == cause
    path = log_path(tmp_path, "api")
    written = [json.loads(line) for line in path.read_text().splitlines()] if cause else []
    assert all((line["pid"], line["restart"]) == (9, 2) for line in written)
