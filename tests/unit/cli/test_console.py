"""What `run` shows, and how `logs` reads files that are turned over."""

import io
from pathlib import Path

import pytest

from appliance.base.errors import NotFoundError
from appliance.cli.console import Console, render_entry, render_transition
from appliance.cli.logs import Follower, choose_components, last_entries
from appliance.cli.status import render_duration
from appliance.config.model import LogForm, LogSettings
from appliance.supervisor.component import Transition
from appliance.supervisor.lines import Entry
from appliance.supervisor.output import LogFile, LogPolicy, log_path
from appliance.supervisor.spec import Kind
from appliance.supervisor.state import State


def entry(second: int, *, component: str = "api", level: str = "info") -> Entry:
    """An entry of a second of a minute."""
    return Entry(
        timestamp=f"2026-01-01T00:00:{second:02d}.000+00:00",
        level=level,
        component=component,
        pid=1,
        restart=0,
        event=f"event {second}",
        fields={"port": 8080, "said": "two words"},
    )


def transition(after: State, **changes: object) -> Transition:
    """A change of state after 1.25 s."""
    told: dict[str, object] = {
        "name": "api",
        "kind": Kind.SERVICE,
        "before": State.STARTING,
        "after": after,
        "seconds": 1.25,
        **changes,
    }
    return Transition(**told)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (transition(State.READY), "api ready 1.2 s"),
        (transition(State.READY, kind=Kind.EXTERNAL), "api answers 1.2 s"),
        (transition(State.COMPLETED), "api done 1.2 s"),
        (
            transition(State.BACKING_OFF, cause="exited 1: no", retry_seconds=0.4),
            "api exited 1: no; again in 0.4 s",
        ),
        (
            transition(State.QUARANTINED, cause="exited 1"),
            "api quarantined: exited 1; `pug-appliance restart api` tries again",
        ),
        (transition(State.FAILED, cause="exited 1"), "api failed: exited 1"),
        (transition(State.STOPPED, before=State.STOPPING), "api stopped 1.2 s"),
        (transition(State.STOPPED, before=State.WAITING), ""),
        (transition(State.STARTING), ""),
    ],
)
def test_a_change_is_one_line_or_none(change: Transition, words: str) -> None:
    """With the seconds it took, or the cause and what comes next."""
    assert " ".join(render_transition(change).split()) == words


def test_a_terminal_shows_progress_and_warnings() -> None:
    """Control characters of a component do not reach it."""
    stream = io.StringIO()
    console = Console(LogSettings(), as_json=False, stream=stream)
    console.entry(entry(1))
    console.entry(entry(2, level="warning"))
    console.entry(entry(3, component="supervisor", level="error"))
    console.change(transition(State.READY))
    console.say("everything answers")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("00:00:02.000 api")
    assert lines[0].endswith("event 2 port=8080 said='two words'")


def test_as_json_every_entry_is_an_object_and_nothing_else_is_printed() -> None:
    """For a journal."""
    for settings, as_json in ((LogSettings(), True), (LogSettings(form=LogForm.JSON), False)):
        stream = io.StringIO()
        console = Console(settings, as_json=as_json, stream=stream)
        console.entry(entry(1))
        console.change(transition(State.READY))
        console.say("everything answers")
        assert stream.getvalue().encode() == entry(1).encode()


def test_a_closed_terminal_stops_nobody() -> None:
    """The log files have it all."""
    stream = io.StringIO()
    stream.close()
    Console(LogSettings(), as_json=False, stream=_Broken()).say("x")


class _Broken(io.StringIO):
    def write(self, _text: str, /) -> int:
        raise BrokenPipeError


def test_an_entry_cannot_command_the_terminal() -> None:
    """An escape sequence in a log line is shown as blanks."""
    strange = Entry(
        timestamp="2026-01-01T00:00:00.000+00:00",
        level="error",
        component="nats",
        pid=None,
        restart=0,
        event="\x1b[2Jgone",
    )
    assert "\x1b" not in render_entry(strange, colours=False)
    assert render_entry(strange, colours=True).count("\x1b") == 2


def test_lines_of_several_components_come_in_order(tmp_path: Path) -> None:
    """Also out of files that were turned over; damaged lines are left out."""
    policy = LogPolicy(file_bytes_max=len(entry(1).encode()) + 10, files_max=5)
    for component, seconds in (("api", (1, 4, 5)), ("nats", (2, 3, 6))):
        file = LogFile(log_path(tmp_path, component), policy)
        for second in seconds:
            file.append(entry(second, component=component).encode())
        file.append(b"{damaged\n")
        file.close()
    everything = last_entries(tmp_path, ("api", "nats"), 100)
    assert [one.event for one in everything] == [f"event {second}" for second in range(1, 7)]
    assert [one.event for one in last_entries(tmp_path, ("api",), 2)] == ["event 4", "event 5"]


def test_following_survives_the_turning_over(tmp_path: Path) -> None:
    """No line is lost or shown twice."""
    path = log_path(tmp_path, "api")
    file = LogFile(path, LogPolicy(file_bytes_max=2 * len(entry(1).encode()), files_max=3))
    file.append(entry(0).encode())
    follower = Follower(path)
    seen: list[str] = []
    for second in range(1, 12):
        file.append(entry(second).encode())
        seen += [one.event for one in follower.read()]
    assert seen == [f"event {second}" for second in range(1, 12)]
    file.close()
    follower.close()


def test_unknown_logs_are_told_with_the_known_ones(tmp_path: Path) -> None:
    """And an empty folder with how to get logs."""
    with pytest.raises(NotFoundError, match="pug-appliance run"):
        choose_components(tmp_path, ())
    log_path(tmp_path, "api").touch()
    assert choose_components(tmp_path, ()) == ("api",)
    with pytest.raises(NotFoundError, match="one of api"):
        choose_components(tmp_path, ("web",))


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.9, "5s"), (65, "1m 5s"), (3700, "1h 1m"), (90000, "1d 1h")]
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    """The two largest."""
    assert render_duration(seconds) == text
