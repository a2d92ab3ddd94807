"""When a component starts again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.supervisor.backoff import (
    DELAY_SECONDS_MAX,
    DELAY_SECONDS_MIN,
    FAILURES_MAX,
    HEALTH_SECONDS_MIN,
    KILLED_HEALTH_SECONDS_MIN,
    Quarantine,
    RestartAfter,
    count_failures,
    delay_seconds,
    restart_verdict,
)


def test_delays_double_up_to_the_limit() -> None:
    """0.1 s, 0.2 s, … 30 s."""
    delays = [delay_seconds(failures, jitter=0) for failures in range(1, 12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == DELAY_SECONDS_MAX


@given(failures=st.integers(1, 10**9), jitter=st.floats(0, 1))
def test_jitter_only_shortens_and_keeps_the_limits(failures: int, jitter: float) -> None:
    """However often it failed."""
    delay = delay_seconds(failures, jitter=jitter)
    assert 0.7 * DELAY_SECONDS_MIN <= delay <= DELAY_SECONDS_MAX
    assert delay <= delay_seconds(failures, jitter=0)


@pytest.mark.parametrize(("failures", "jitter"), [(0, 0.5), (1, -0.1), (1, 1.1)])
def test_nonsense_is_a_bug(failures: int, jitter: float) -> None:
    """Callers count from one."""
    with pytest.raises(AssertionError):
        delay_seconds(failures, jitter=jitter)


def test_health_forgets_failures() -> None:
    """After 60 s of health the next failure is the first again."""
    assert count_failures(7, ready_seconds=HEALTH_SECONDS_MIN, killed=False) == 1
    assert count_failures(7, ready_seconds=HEALTH_SECONDS_MIN - 0.1, killed=False) == 8


def test_a_kill_from_outside_is_no_failure_of_the_healthy() -> None:
    """However often it is killed, it is back at once; a start that dies is not."""
    assert count_failures(7, ready_seconds=KILLED_HEALTH_SECONDS_MIN, killed=True) == 1
    assert count_failures(7, ready_seconds=KILLED_HEALTH_SECONDS_MIN - 0.1, killed=True) == 8


def test_a_data_engine_is_never_given_up() -> None:
    """A worker is, after eight failures in a row."""
    assert isinstance(restart_verdict(10**6, may_quarantine=False, jitter=1), RestartAfter)
    before = restart_verdict(FAILURES_MAX - 1, may_quarantine=True, jitter=0)
    assert before == RestartAfter(delay_seconds=delay_seconds(FAILURES_MAX - 1, jitter=0))
    after = restart_verdict(FAILURES_MAX, may_quarantine=True, jitter=0)
    assert after == Quarantine(failures=FAILURES_MAX)
