"""Metered usage: events by day and project [services 13].

Invariant: a number only grows. Retention, erasure and the deletion of a project take events away,
but they were taken in all the same.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.storage.clickhouse.usage import CountedDay
from appliance.storage.postgres.pool import Postgres, Transaction


class UsedDay(Struct, frozen=True, kw_only=True):
    """Events of one project on one UTC day."""

    project_id: str
    day: date
    events: int


_SAVE: Final = """
INSERT INTO usage_days AS u (org_id, project_id, day, events, update_time)
SELECT p.org_id, p.id, told.day, told.events, $4
FROM unnest($1::text[], $2::date[], $3::bigint[]) AS told (project_id, day, events)
JOIN projects AS p ON p.id = told.project_id
ON CONFLICT (project_id, day) DO UPDATE
SET events = excluded.events, update_time = excluded.update_time
WHERE u.events < excluded.events
"""
_METERED: Final = """
INSERT INTO usage_meter (meter_time) VALUES ($1)
ON CONFLICT (single) DO UPDATE
SET meter_time = GREATEST(usage_meter.meter_time, excluded.meter_time)
"""
_METER_TIME: Final = "SELECT meter_time FROM usage_meter"
_TOTAL: Final = """
SELECT COALESCE(sum(events), 0)::bigint AS events FROM usage_days
WHERE org_id = $1 AND day >= $2 AND day < $3
"""
_DAYS: Final = """
SELECT project_id, day, events FROM usage_days
WHERE org_id = $1 AND day >= $2 AND day < $3 ORDER BY day, project_id LIMIT $4
"""


async def save_usage(transaction: Transaction, days: Sequence[CountedDay], at: datetime) -> int:
    """Remember counts of projects we know; how many were new or higher than before."""
    tag = await transaction.execute(
        _SAVE,
        [one.project_id for one in days],
        [one.day for one in days],
        [one.events for one in days],
        at,
    )
    return int(tag.rpartition(" ")[2])


async def mark_metered(transaction: Transaction, at: datetime) -> None:
    """Remember that everything up to this instant was counted."""
    await transaction.execute(_METERED, at)


async def load_meter_time(database: Postgres) -> datetime | None:
    """When usage was counted last; None when never."""
    row = await database.row(_METER_TIME)
    return None if row is None else cast("datetime", row["meter_time"])


async def sum_usage(database: Postgres, org_id: str, *, first: date, end: date) -> int:
    """Events of an organisation from the first day to before the end."""
    row = await database.row(_TOTAL, org_id, first, end)
    assert row is not None
    return cast("int", row["events"])


async def list_usage(
    database: Postgres, org_id: str, *, first: date, end: date, limit: int
) -> tuple[UsedDay, ...]:
    """Usage by day and project, oldest first."""
    rows = await database.rows(_DAYS, org_id, first, end, limit)
    return tuple(msgspec.convert(dict(row), UsedDay) for row in rows)
