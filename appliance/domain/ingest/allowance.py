"""How many events a project may send: so many a second, so many a month.

Invariant: a batch is never too large to be taken: whoever has anything left may send it and then
owes the rest, so that a batch of a thousand is not refused for ever at a hundred a second. Over any
longer time no more than the rate passes, beside one burst and one batch.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from msgspec import Struct

BURST_SECONDS: Final = 10.0
"""A project that was quiet may send the events of so many seconds at once."""


class ProjectLimits(Struct, frozen=True, kw_only=True):
    """What a project may send; None for as much as it likes. A month is one of the UTC calendar."""

    events_per_second: int | None = None
    events_per_month: int | None = None


class Bucket:
    """What is left of a rate; times are seconds of one monotonic clock."""

    def __init__(self, events_per_second: int, now: float) -> None:
        self._rate = events_per_second
        self._left = events_per_second * BURST_SECONDS
        self._at = now

    @property
    def events_per_second(self) -> int:
        """The rate it was made for."""
        return self._rate

    def wait_seconds(self, now: float) -> float:
        """How long until something may be taken; 0 when that is now."""
        self._fill(now)
        return 0.0 if self._left > 0 else (1 - self._left) / self._rate

    def take(self, events: int, now: float) -> None:
        """Take events; what is missing is owed."""
        self._fill(now)
        self._left -= events

    def _fill(self, now: float) -> None:
        gained = (now - self._at) * self._rate
        self._left = min(self._left + gained, self._rate * BURST_SECONDS)
        self._at = now


def month_of(now: datetime) -> date:
    """The first day of the month that an instant belongs to."""
    return now.astimezone(UTC).date().replace(day=1)


def seconds_to_next_month(now: datetime) -> float:
    """How long the month of an instant goes on."""
    following = (month_of(now) + timedelta(days=31)).replace(day=1)
    start = datetime(following.year, following.month, 1, tzinfo=UTC)
    return (start - now).total_seconds()
