"""The readiness line."""

import os

import pytest

from appliance.base.ready import READY_DESCRIPTOR_VARIABLE, Readiness, announce_ready, parse_ready


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
