"""What is heard of workers."""

import msgspec
import pytest

from appliance.config.endpoints import NatsEndpoint
from appliance.config.secrets import Secret
from appliance.domain.figures import Report
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.reports import (
    FORGOTTEN_SECONDS,
    PROCESSES_MAX,
    REPORT_BYTES_MAX,
    STALE_SECONDS,
    Reports,
)
from tests.support.clocks import FixedClock


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def reports(clock: FixedClock) -> Reports:
    return Reports(
        Streams(NatsEndpoint(url=Secret("nats://127.0.0.1:1"), external=False), name="t"), clock
    )


def report(process: str = "events", pid: int = 1) -> bytes:
    return msgspec.json.encode(Report(process=process, pid=pid, families=()))


def test_silence_is_seen(reports: Reports, clock: FixedClock):
    """Numbers of the past are not numbers of now, and in the end a process is forgotten."""
    reports._hear(report())
    assert [one.fresh for one in reports.all()] == [True]
    clock.advance(STALE_SECONDS)
    assert [one.fresh for one in reports.all()] == [False]
    clock.advance(FORGOTTEN_SECONDS)
    assert reports.all() == ()


def test_of_two_of_a_name_the_first_is_shown(reports: Reports, clock: FixedClock):
    """Else counters would go up and down while one stands by; its successor is shown later."""
    reports._hear(report(pid=1))
    reports._hear(report(pid=2))
    assert [one.report.pid for one in reports.all()] == [1]
    clock.advance(STALE_SECONDS)
    reports._hear(report(pid=2))
    assert [one.report.pid for one in reports.all()] == [2]


def test_what_anybody_sends_is_bounded(reports: Reports, clock: FixedClock):
    """Neither size nor number nor nonsense does harm."""
    reports._hear(b"{")
    reports._hear(report("x" * REPORT_BYTES_MAX))
    for number in range(2 * PROCESSES_MAX):
        reports._hear(report(f"p{number}"))
    assert len(reports.all()) == PROCESSES_MAX
    clock.advance(FORGOTTEN_SECONDS)
    reports._hear(report("fresh"))
    assert [one.report.process for one in reports.all()] == ["fresh"]
