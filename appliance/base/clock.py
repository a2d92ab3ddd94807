"""Time as a parameter.

Invariant: wall time and monotonic time are different methods and never mixed; durations come from
`monotonic_seconds` only. Tests pass a fixed clock from `tests/support/`.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where code that needs the time gets it from."""

    def now(self) -> datetime:
        """The current instant, UTC."""
        ...

    def monotonic_seconds(self) -> float:
        """Seconds since an unknown origin; never goes back."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(tz=UTC)  # noqa: TID251 the one home of the wall clock

    def monotonic_seconds(self) -> float:
        return time.monotonic()  # noqa: TID251 the one home of the monotonic clock
