"""Which time an alert looks at, and when it looks.

Invariant: only complete buckets count. A bucket is complete `SETTLE` after its end, so that a
half-filled day, or events that are still on their way, never make a number look low. Buckets are
those of charts, in the zone of the project (`domain/insights/window.py`).
"""

from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.domain.insights.spec import Granularity, TimeRange
from appliance.domain.insights.window import load_zone, make_buckets
from appliance.domain.schedule import Daily, Every, Schedule, next_due

SETTLE: Final = timedelta(minutes=2)
"""How long after its end a bucket may still fill: clients send batches, queues are worked off."""
DAILY_AT: Final = time(7)
PERIODS_MAX: Final[dict[Granularity, int]] = {
    Granularity.MINUTE: 180,
    Granularity.HOUR: 168,
    Granularity.DAY: 90,
    Granularity.WEEK: 26,
    Granularity.MONTH: 12,
}
"""Twice as many, and the one that runs, stay below the buckets of one question."""
_WIDEST_MS: Final[dict[Granularity, int]] = {
    Granularity.MINUTE: 60_000,
    Granularity.HOUR: 3_600_000,
    Granularity.DAY: 25 * 3_600_000,
    Granularity.WEEK: (7 * 24 + 1) * 3_600_000,
    Granularity.MONTH: (31 * 24 + 1) * 3_600_000,
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Frequency(StrEnum):
    """How often an alert is evaluated; the value is what is stored."""

    EVERY_5_MINUTES = "every_5_minutes"
    EVERY_15_MINUTES = "every_15_minutes"
    HOURLY = "hourly"
    DAILY = "daily"


_PERIODS: Final = {
    Frequency.EVERY_5_MINUTES: timedelta(minutes=5),
    Frequency.EVERY_15_MINUTES: timedelta(minutes=15),
    Frequency.HOURLY: timedelta(hours=1),
}


class Watched(Struct, frozen=True, kw_only=True):
    """So many complete buckets of one width."""

    granularity: Granularity
    periods: int


class Spans(Struct, frozen=True, kw_only=True):
    """The time looked at and, just as many buckets long, the time before it."""

    current: TimeRange
    previous: TimeRange


def find_spans(watched: Watched, zone: str, now: datetime) -> Spans:
    """The newest complete buckets at an instant, and those before them.

    Raises InvalidInputError for a zone that is not known here.
    """
    assert 0 < watched.periods <= PERIODS_MAX[watched.granularity], "checked when it was made"
    settled_ms = (now - SETTLE - _EPOCH) // timedelta(milliseconds=1)
    wanted = 2 * watched.periods
    begin_ms = settled_ms - (wanted + 1) * _WIDEST_MS[watched.granularity]
    around = TimeRange(start_ms=begin_ms, end_ms=settled_ms)
    buckets = make_buckets(around, watched.granularity, load_zone(zone))
    edges = [edge for edge in buckets.edges_ms if edge <= settled_ms][-wanted - 1 :]
    assert len(edges) == wanted + 1, "the range was made long enough"
    middle = edges[watched.periods]
    return Spans(
        current=TimeRange(start_ms=middle, end_ms=edges[-1]),
        previous=TimeRange(start_ms=edges[0], end_ms=middle),
    )


def next_evaluation(frequency: Frequency, zone: str, now: datetime) -> datetime:
    """When an alert is due after an instant: just when a bucket that ended on the hour counts."""
    return next_due(_schedule(frequency, zone), now - SETTLE) + SETTLE


def instant(moment_ms: int) -> datetime:
    """An instant of milliseconds since 1970 UTC."""
    return _EPOCH + timedelta(milliseconds=moment_ms)


def _schedule(frequency: Frequency, zone: str) -> Schedule:
    period = _PERIODS.get(frequency)
    return Every(period) if period is not None else Daily(DAILY_AT, zone or "UTC")
