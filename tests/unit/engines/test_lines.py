"""What the engines print, in our levels."""

import pytest

from appliance.engines import nats, postgres
from appliance.supervisor.lines import ParsedLine


@pytest.mark.parametrize(
    ("text", "level", "event"),
    [
        ("LOG:  checkpoint starting", "info", "checkpoint starting"),
        ("ERROR:  no such table", "error", "no such table"),
        (
            "FATAL:  the database system is starting up",
            "info",
            "the database system is starting up",
        ),
        ("FATAL:  no memory", "error", "no memory"),
        ("PANIC:  lost", "critical", "lost"),
        ("WARNING:  hm", "warning", "hm"),
        ("DETAIL:  more", "info", "detail: more"),
        ("2026-01-01 00:00:00 GMT [7] LOG:  early", "info", "early"),
        ("\tcontinued", "info", "\tcontinued"),
        ("initdb: error:  x", "info", "initdb: error:  x"),
    ],
)
def test_postgres(text: str, level: str, event: str) -> None:
    """The level stands in front of a colon and two spaces."""
    assert postgres.parse_line(text) == ParsedLine(level=level, event=event)


@pytest.mark.parametrize(
    ("text", "level", "event"),
    [
        ("[7] [INF] Server is ready", "info", "Server is ready"),
        ("[7] [WRN] slow", "warning", "slow"),
        ("[7] [WRN] Plaintext passwords detected, use nkeys", "info", None),
        ("[7] [ERR] broken", "error", "broken"),
        ("[7] [FTL] dead", "critical", "dead"),
        ("[7] [DBG] x", "debug", "x"),
        ("panic: runtime error", "info", "panic: runtime error"),
    ],
)
def test_nats(text: str, level: str, event: str | None) -> None:
    """The level stands in brackets after the pid; warnings we chose to live with are none."""
    line = nats.parse_line(text)
    assert line.level == level
    assert event is None or line.event == event
