"""What an entry looks like to a syslog server and to journald."""

import os
from pathlib import Path

import pytest

from appliance.base.errors import MisconfiguredError
from appliance.supervisor.journal_socket import is_journal, render_fields, render_prefixed
from appliance.supervisor.lines import Entry
from appliance.supervisor.syslog import Target, parse_target, render_syslog
from tests.support.syslog_message import parse_message


def entry(event: str = "request_finished", level: str = "info", **fields: object) -> Entry:
    return Entry(
        timestamp="2026-05-10T09:30:00.123+00:00",
        level=level,
        component="api",
        pid=42,
        restart=1,
        event=event,
        fields=fields,
    )


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("udp://logs.example", Target(scheme="udp", host="logs.example", port=514)),
        ("tcp://10.0.0.9:1514", Target(scheme="tcp", host="10.0.0.9", port=1514)),
        ("tls://[2001:db8::1]", Target(scheme="tls", host="2001:db8::1", port=6514)),
        ("unix:///dev/log", Target(scheme="unix", path="/dev/log")),
    ],
)
def test_targets(url: str, target: Target):
    assert parse_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "logs.example",
        "http://x",
        "udp://",
        "udp://h:99999",
        "unix://host/x",
        "tcp://u@h",
        "tcp://h/x",
    ],
)
def test_what_is_no_target_is_refused(url: str):
    """With an example of what would do."""
    with pytest.raises(MisconfiguredError, match="not the address"):
        parse_target(url)


def test_parts():
    """Level, component, pid, event and fields are where a server looks for them."""
    message = parse_message(render_syslog(entry(status=200), hostname="box", bytes_max=2048))
    assert (message.facility, message.severity) == (3, 6)
    assert (message.host, message.app, message.pid) == ("box", "pug-api", "42")
    assert message.id == message.text == "request_finished"
    assert message.fields == {"component": "api", "restart": "1", "status": "200"}


@pytest.mark.parametrize(
    ("level", "number"),
    [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2), ("odd", 6)],
)
def test_levels(level: str, number: int):
    """The same numbers for both."""
    assert parse_message(
        render_syslog(entry(level=level), hostname="h", bytes_max=999)
    ).severity == (number)
    assert render_prefixed(entry(level=level)).startswith(f"<{number}>{{")
    assert f"\nPRIORITY={number}\n".encode() in render_fields(entry(level=level))


def test_hostile_text_breaks_nothing():
    """Quotes, brackets, line breaks, other scripts, empty names, a name too long."""
    event = 'said "] x="1"\n<0>1 forged'
    fields = {'a]b="c': 'v"]\\\n', "ключ": "значение", "n" * 99: "x", "": "e"}
    message = parse_message(
        render_syslog(entry(event, **fields), hostname="höst name", bytes_max=2048)
    )
    assert message.id == "-"
    assert message.text == 'said "] x="1" <0>1 forged'
    assert message.fields["a_b__c"] == 'v"]\\ '
    assert message.fields["____"] == "значение"
    assert message.host == "h_st_name"


@pytest.mark.parametrize("bytes_max", [480, 2048, 8192])
@pytest.mark.parametrize("letter", ["x", "ж", "\U0001f43e", '"'])
def test_length_is_bounded_and_what_is_left_is_whole(bytes_max: int, letter: str):
    """Fields that do not fit are left out, text is cut between letters."""
    fields = {f"f{number}": letter * 300 for number in range(50)}
    raw = render_syslog(entry(letter * 9000, **fields), hostname="h", bytes_max=bytes_max)
    assert len(raw) <= bytes_max
    message = parse_message(raw)
    assert set(message.text) == {letter}
    assert message.fields["component"] == "api"
    assert all(value == letter * 300 for name, value in message.fields.items() if name[0] == "f")


def test_journal_fields():
    """One field a line; a line break in a value cannot begin a field of its own."""
    lines = render_fields(entry("a\nPRIORITY=0", note="b\nMESSAGE=c")).decode().splitlines()
    names = [line.partition("=")[0] for line in lines]
    assert len(names) == len(set(names))
    assert "MESSAGE=a PRIORITY=0 note=b MESSAGE=c" in lines
    assert "PUG_COMPONENT=api" in lines
    assert "SYSLOG_IDENTIFIER=pug-api" in lines


def test_the_journal_is_recognised_by_its_file(tmp_path: Path):
    """A variable that a parent left behind does not count."""
    with (tmp_path / "stream").open("w") as file:
        state = os.fstat(file.fileno())
        right = {"JOURNAL_STREAM": f"{state.st_dev}:{state.st_ino}"}
        assert is_journal(right, file.fileno())
        assert not is_journal({"JOURNAL_STREAM": "8:1"}, file.fileno())
        assert not is_journal({}, file.fileno())
    assert not is_journal(right, 999)
