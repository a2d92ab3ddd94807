"""When a component that ended is started again, and when not.

Invariant: delays double from 0.1 s to 30 s with jitter, are forgotten after 60 s of health, and end
only for components that may be quarantined. A data engine is never given up. Who was killed from
outside while it was healthy did not fail (decision 0007). Pure.
"""

from typing import Final

import msgspec

DELAY_SECONDS_MIN: Final = 0.1
DELAY_SECONDS_MAX: Final = 30.0
HEALTH_SECONDS_MIN: Final = 60.0
KILLED_HEALTH_SECONDS_MIN: Final = 1.0
FAILURES_MAX: Final = 8
_JITTER_SHARE: Final = 0.25


class RestartAfter(msgspec.Struct, frozen=True, kw_only=True):
    """Start again when this long has passed."""

    delay_seconds: float


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """Do not start again until somebody asks for it."""

    failures: int


Verdict = RestartAfter | Quarantine


def count_failures(failures: int, *, ready_seconds: float, killed: bool) -> int:
    """Failures in a row, this end included; a health before it that is long enough forgets them.

    `killed`: it was ended by SIGKILL, which nobody sends to himself.
    """
    needed = KILLED_HEALTH_SECONDS_MIN if killed else HEALTH_SECONDS_MIN
    return 1 if ready_seconds >= needed else failures + 1


def delay_seconds(failures: int, *, jitter: float) -> float:
    """How long to wait after so many failures in a row; `jitter` is between 0 and 1."""
    assert failures >= 1
    assert 0 <= jitter <= 1
    # The exponent is capped because 2.0**2000 overflows on a component that fails for weeks.
    full = min(DELAY_SECONDS_MAX, DELAY_SECONDS_MIN * 2.0 ** min(failures - 1, 16))
    return full * (1 - _JITTER_SHARE * jitter)


def restart_verdict(failures: int, *, may_quarantine: bool, jitter: float) -> Verdict:
    """Whether and when a component that failed `failures` times in a row starts again."""
    if may_quarantine and failures >= FAILURES_MAX:
        return Quarantine(failures=failures)
    return RestartAfter(delay_seconds=delay_seconds(failures, jitter=jitter))
