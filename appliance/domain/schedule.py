"""When a job is due, and which run is to be made now.

Invariant: pure; an instant is UTC, a local time becomes one only here. A schedule's due times are
strictly ordered and never depend on when somebody asks. Runs that were missed become one run, of
the newest missed due time: every job covers what is left to do, not what one day left.
Who keeps the history: `storage/postgres/jobs.py`. Who acts: `workers/scheduler.py`.
"""

from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum, StrEnum
from typing import Final, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

RETRY_SECONDS_MIN: Final = 60
RETRY_SECONDS_MAX: Final = 3600
FUTURE_MAX: Final = timedelta(days=1)
"""A due time further ahead was written while the clock of the machine was wrong."""
_EPOCH: Final = datetime(1970, 1, 5, tzinfo=UTC)
"""A Monday, so that a period of whole weeks begins on one."""
_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)
_MARGIN_DAYS: Final = 2
"""A zone may skip or repeat a whole day at the date line."""


class Weekday(IntEnum):
    """Days as `date.weekday` counts them."""

    MONDAY = 0
    TUESDAY = 1
    WEDNESDAY = 2
    THURSDAY = 3
    FRIDAY = 4
    SATURDAY = 5
    SUNDAY = 6


class Every(Struct, frozen=True, tag=True):
    """Due at the multiples of a period, at least a second, the same for everybody."""

    period: timedelta


class Daily(Struct, frozen=True, tag=True):
    """Due once a local day. A time that the clocks skip is due when they have gone forward; of a
    time they repeat, the first one counts.
    """

    at: time
    zone: str = "UTC"


class Weekly(Struct, frozen=True, tag=True):
    """Due once a local week; local times as in `Daily`."""

    day: Weekday
    at: time
    zone: str = "UTC"


Schedule = Every | Daily | Weekly


class Outcome(StrEnum):
    """How a run ended; empty while it runs."""

    RUNNING = ""
    OK = "ok"
    FAILED = "failed"


class LastRun(Struct, frozen=True, kw_only=True):
    """What is known of a job's newest run; `failures` counts the failed ones in a row."""

    due_at: datetime
    outcome: Outcome
    ended_at: datetime | None
    failures: int = 0


class PlannedRun(Struct, frozen=True, kw_only=True):
    """A run to make now; `missed` due times before it are covered by it."""

    due_at: datetime
    missed: int = 0


def next_due(schedule: Schedule, after: datetime) -> datetime:
    """The first due time after an instant."""
    match schedule:
        case Every(period):
            return _period_start(period, after) + period
        case Daily(at, zone):
            return min(due for due in _daily(at, zone, after) if due > after)
        case Weekly(day, at, zone):
            return min(due for due in _weekly(day, at, zone, after) if due > after)
        case _:
            assert_never(schedule)


def newest_due(schedule: Schedule, now: datetime) -> datetime:
    """The last due time at or before an instant."""
    match schedule:
        case Every(period):
            return _period_start(period, now)
        case Daily(at, zone):
            return max(due for due in _daily(at, zone, now) if due <= now)
        case Weekly(day, at, zone):
            return max(due for due in _weekly(day, at, zone, now) if due <= now)
        case _:
            assert_never(schedule)


def plan_run(schedule: Schedule, last: LastRun | None, now: datetime) -> PlannedRun | None:
    """The run to make now, or None.

    A job that never ran is due at once. A failed one is tried again after a growing pause, and at
    the latest at its next due time. One that runs is left alone.
    """
    due = newest_due(schedule, now)
    if last is None or last.due_at - now > FUTURE_MAX:
        return PlannedRun(due_at=due)
    if last.outcome is Outcome.RUNNING:
        return None
    if due > last.due_at:
        return PlannedRun(due_at=due, missed=count_missed(schedule, last.due_at, due))
    if last.outcome is Outcome.FAILED and last.ended_at is not None:
        waited = now - last.ended_at
        if waited >= timedelta(seconds=retry_seconds(last.failures)) or waited < timedelta(0):
            return PlannedRun(due_at=last.due_at)
    return None


def retry_seconds(failures: int) -> int:
    """How long a job rests after so many failures in a row: a minute, doubling, at most an hour."""
    doublings = min(max(failures - 1, 0), 10)
    return min(RETRY_SECONDS_MIN << doublings, RETRY_SECONDS_MAX)


def count_missed(schedule: Schedule, done: datetime, due: datetime) -> int:
    """How many due times lie between the last one done and the one that is due now."""
    if due <= done:
        return 0
    match schedule:
        case Every(period):
            return max((due - _period_start(period, done)) // period - 1, 0)
        case Daily(zone=zone):
            return max(_local_day(due, zone) - _local_day(done, zone) - 1, 0)
        case Weekly(zone=zone):
            return max((_local_day(due, zone) - _local_day(done, zone)) // 7 - 1, 0)
        case _:
            assert_never(schedule)


def week_before(due: datetime, zone: str) -> tuple[datetime, datetime]:
    """The last whole local week, Monday to Monday, that was over at an instant."""
    local = due.astimezone(find_zone(zone)).date()
    monday = local - timedelta(days=local.weekday())
    midnight = time(0)
    return _instant(monday - _WEEK, midnight, zone), _instant(monday, midnight, zone)


def is_lease_free(expires_at: datetime, now: datetime, *, lease_seconds: float) -> bool:
    """Whether a lease may be taken: it is over, or it ends later than any lease given now would.

    The second is what a clock that was wrong for a moment leaves behind.
    """
    return expires_at <= now or expires_at - now > timedelta(seconds=lease_seconds) + FUTURE_MAX


def start_of_day(instant: datetime) -> datetime:
    """Midnight UTC of an instant's day: retention counts whole days of the roll-ups."""
    return datetime.combine(instant.astimezone(UTC).date(), time(0), tzinfo=UTC)


def find_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name; UTC for an empty name or one this machine does not know."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _period_start(period: timedelta, instant: datetime) -> datetime:
    assert period >= timedelta(seconds=1), "a period is at least a second"
    return _EPOCH + (instant - _EPOCH) // period * period


def _daily(at: time, zone: str, around: datetime) -> list[datetime]:
    today = around.astimezone(find_zone(zone)).date()
    return [
        _instant(today + step * _DAY, at, zone) for step in range(-_MARGIN_DAYS, _MARGIN_DAYS + 1)
    ]


def _weekly(day: Weekday, at: time, zone: str, around: datetime) -> list[datetime]:
    today = around.astimezone(find_zone(zone)).date()
    this = today + (day - today.weekday()) * _DAY
    return [_instant(this + step * _WEEK, at, zone) for step in range(-2, 3)]


def _instant(day: date, at: time, zone: str) -> datetime:
    """The instant of a local time; `fold=0` is the first of two, and before a gap keeps the offset
    of before, which lands as far behind the gap as the time lay in it.
    """
    return datetime.combine(day, at, tzinfo=find_zone(zone)).astimezone(UTC)


def _local_day(instant: datetime, zone: str) -> int:
    return instant.astimezone(find_zone(zone)).date().toordinal()
