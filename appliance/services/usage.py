"""How many events an organisation has used: metering them, and telling it [services 13].

Invariant: an answer comes from metered numbers alone and says when they were metered; before the
first metering of a month its total is unset, not zero. Metering may run at any time, twice, or not
for a while: it counts all days of the longest range anybody may ask for.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.services.stores import Stores
from appliance.storage.clickhouse.usage import count_events
from appliance.storage.postgres.usage import (
    UsedDay,
    list_usage,
    load_meter_time,
    mark_metered,
    save_usage,
    sum_usage,
)

RANGE_DAYS_MAX: Final = 400
DAYS_LISTED_MAX: Final = 10_000
SAVE_ROWS_MAX: Final = 5000
_AHEAD_DAYS: Final = 2
"""Clocks of devices may be ahead; an event is counted on the day it names."""


class Usage(Struct, frozen=True, kw_only=True):
    """Usage of the current calendar month, UTC, and by day; `used_events` None until metered."""

    used_events: int | None
    period_start: datetime
    period_end: datetime
    metered_at: datetime | None
    daily: tuple[UsedDay, ...]


class UsageService:
    """Counts, and answers."""

    def __init__(self, stores: Stores, *, clock: Clock) -> None:
        self._database = stores.postgres
        self._events = stores.clickhouse
        self._clock = clock

    async def meter(self) -> int:
        """Count the events of every project by day; on how many days of projects there were more.

        Raises UnavailableError; nothing is half done then, and the next run makes up for it.
        """
        now = self._clock.now()
        today = now.astimezone(UTC).date()
        counted = await count_events(
            self._events,
            first=today - timedelta(days=RANGE_DAYS_MAX),
            last=today + timedelta(days=_AHEAD_DAYS),
        )
        changed = 0
        async with self._database.transaction() as transaction:
            for at in range(0, len(counted), SAVE_ROWS_MAX):
                page = counted[at : at + SAVE_ROWS_MAX]
                changed += await save_usage(transaction, page, now)
            await mark_metered(transaction, now)
        return changed

    async def load(
        self, org_id: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> Usage:
        """Usage of an organisation; days of the range, or of the current month without one.

        A range is widened to whole UTC days.
        """
        first, after = month_around(self._clock.now())
        metered_at = await load_meter_time(self._database)
        total = None
        if metered_at is not None and metered_at >= _midnight(first):
            total = await sum_usage(self._database, org_id, first=first, end=after)
        daily = await list_usage(
            self._database,
            org_id,
            first=first if start is None else start.astimezone(UTC).date(),
            end=after if end is None else day_after(end),
            limit=DAYS_LISTED_MAX,
        )
        return Usage(
            used_events=total,
            period_start=_midnight(first),
            period_end=_midnight(after),
            metered_at=metered_at,
            daily=daily,
        )


def month_around(now: datetime) -> tuple[date, date]:
    """The first day of the calendar month, UTC, and that of the next."""
    first = now.astimezone(UTC).date().replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


def day_after(end: datetime) -> date:
    """The first UTC day that lies wholly at or after an instant."""
    day = end.astimezone(UTC).date()
    return day if _midnight(day) == end or day == date.max else day + timedelta(days=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
