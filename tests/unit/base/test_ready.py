"""The readiness line, and the sockets that the service manager holds."""

import os

import pytest

from appliance.base.ready import (
    READY_DESCRIPTOR_VARIABLE,
    Readiness,
    announce_ready,
    parse_ready,
    systemd_listeners,
)

OURS = str(os.getpid())


def test_readiness_is_told_once_on_the_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader gets one line and the end of the pipe; a second call says nothing."""
    reading, writing = os.pipe()
    monkeypatch.setenv(READY_DESCRIPTOR_VARIABLE, str(writing))
    announce_ready(port=8080)
    announce_ready(port=8081)
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.readlines()
    assert [parse_ready(line) for line in lines] == [Readiness(pid=os.getpid(), port=8080)]


@pytest.mark.parametrize(
    "line", [b"", b"hello\n", b"READY=\n", b"READY={}\n", b'READY={"pid":"x"}']
)
def test_other_lines_are_not_readiness(line: bytes) -> None:
    """Only a whole line of ours counts."""
    assert parse_ready(line) is None


@pytest.mark.parametrize(
    ("environment", "held"),
    [
        ({}, ()),
        ({"LISTEN_FDS": "1", "LISTEN_PID": OURS}, (3,)),
        ({"LISTEN_FDS": "2", "LISTEN_PID": OURS}, (3, 4)),
        ({"LISTEN_FDS": "0", "LISTEN_PID": OURS}, ()),
        ({"LISTEN_FDS": "x", "LISTEN_PID": OURS}, ()),
        # Inherited by a process they were not meant for.
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, ()),
        ({"LISTEN_FDS": "1"}, ()),
    ],
)
def test_only_sockets_meant_for_this_process_count(
    environment: dict[str, str], held: tuple[int, ...]
) -> None:
    """Their numbers begin at three, in the order of the unit."""
    assert systemd_listeners(environment) == held
