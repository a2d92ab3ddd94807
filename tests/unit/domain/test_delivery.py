"""What becomes of a message whose handling failed."""

import pytest

from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    UnavailableError,
    UnmetError,
)
from appliance.domain.delivery import DeadLetter, Disposition, RetryAfter, is_permanent, judge


def retry_cases() -> list[dict[str, int | bool]]:
    return [
        {"delivery": 1, "delay": 1},
        {"delivery": 2, "delay": 5},
        {"delivery": 3, "delay": 15},
        {"delivery": 4, "delay": 30},
        {"delivery": 5, "deadLetter": True},
        {"delivery": 6, "maxDeliver": 9, "delay": 30},
        {"delivery": 9, "maxDeliver": 9, "deadLetter": True},
    ]


@pytest.mark.parametrize("case", retry_cases(), ids=lambda case: str(case["delivery"]))
def test_retry_delays(case: dict[str, int]) -> None:
    """A transient failure waits longer each time, then is a dead letter [retry_delays]."""
    verdict = judge(
        permanent=False, delivery=case["delivery"], deliveries_max=case.get("maxDeliver", 5)
    )
    if case.get("deadLetter"):
        assert verdict == DeadLetter(Disposition.MAX_DELIVER)
    else:
        assert verdict == RetryAfter(case["delay"])


def test_permanent_failure_is_dead_at_once() -> None:
    """A permanent failure is not tried again [workers 1]."""
    assert judge(permanent=True, delivery=1) == DeadLetter(Disposition.PERMANENT)


def test_unreadable_metadata_counts_as_last_delivery() -> None:
    """Without delivery metadata a failed message is given up [workers 1]."""
    assert judge(permanent=False, delivery=None) == DeadLetter(Disposition.METADATA_UNAVAILABLE)


def test_error_kinds() -> None:
    """Bad input is permanent; an outage and a bug may pass."""
    assert is_permanent(InvalidInputError("X", "x"))
    assert is_permanent(UnmetError("X", "x"))
    assert is_permanent(NotFoundError("X", "x"))
    assert not is_permanent(UnavailableError("X", "x"))
    assert not is_permanent(RuntimeError("x"))
    # a refused sign-in to the database, or a failure it has no name for
    assert not is_permanent(MisconfiguredError("X", "x"))
    assert not is_permanent(ApplianceError("X", "x"))
    assert not is_permanent(ConflictError("X", "x"))
