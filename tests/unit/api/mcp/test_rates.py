"""How often one key may call [mcp 12 #4]."""

import pytest

from appliance.api.mcp import rates
from appliance.api.mcp.rates import CALLS_IN_WORK_MAX, CALLS_PER_SECOND, CallRates
from appliance.base.errors import ExhaustedError
from appliance.domain.ingest.allowance import BURST_SECONDS
from tests.support.clocks import FixedClock

BURST = int(CALLS_PER_SECOND * BURST_SECONDS)


def calls(limits: CallRates, key: str, number: int) -> None:
    for _ in range(number):
        with limits.admitted(key):
            pass


def test_a_loop_is_slowed_and_nobody_else():
    """A burst passes, then the rate; other keys do not notice."""
    clock = FixedClock()
    limits = CallRates(clock)
    calls(limits, "prv_a", BURST)
    with pytest.raises(ExhaustedError) as refusal:
        calls(limits, "prv_a", 1)
    assert refusal.value.reason == "RESOURCE_EXHAUSTED"
    assert refusal.value.retry_seconds is not None
    calls(limits, "prv_b", BURST)
    clock.advance(refusal.value.retry_seconds)
    calls(limits, "prv_a", 1)


def test_calls_in_work():
    """So many at once; one that ends makes room, also by failing."""
    limits = CallRates(FixedClock())
    running = [limits.admitted("prv_a") for _ in range(CALLS_IN_WORK_MAX)]
    for each in running:
        each.__enter__()
    with pytest.raises(ExhaustedError, match="in work"):
        calls(limits, "prv_a", 1)
    assert running[0].__exit__(None, None, None) is not True
    calls(limits, "prv_a", 1)
    with pytest.raises(ZeroDivisionError), limits.admitted("prv_a"):
        raise ZeroDivisionError
    calls(limits, "prv_a", 1)


def test_keys_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    """Memory is bounded; whoever has calls in work is remembered."""
    monkeypatch.setattr(rates, "KEYS_MAX", 2)
    limits = CallRates(FixedClock())
    with limits.admitted("prv_a"):
        for number in range(10):
            calls(limits, f"prv_{number}", 1)
        assert len(limits._usages) == 2
