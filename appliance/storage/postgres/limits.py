"""Limits of projects, and what they sent this month.

Invariant: a count only grows, by what each process adds to it, in the order of ids, so that two
processes never wait for each other in a circle.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final

import msgspec
from msgspec import Struct

from appliance.domain.ingest.allowance import ProjectLimits
from appliance.storage.postgres.pool import Postgres, Transaction

LIMITED_MAX: Final = 10_000


class LimitedProject(Struct, frozen=True, kw_only=True):
    """A project with a limit, and how many events of it were taken this month."""

    project_id: str
    events_per_second: int | None
    events_per_month: int | None
    events: int


class ProjectUse(Struct, frozen=True, kw_only=True):
    """A living project, its limits if it has any, and how many events were taken this month."""

    id: str
    display_name: str
    events_per_second: int | None
    events_per_month: int | None
    events: int


_ADD: Final = """
INSERT INTO accepted_months AS m (project_id, month, events)
SELECT p.id, told.month, told.events
FROM unnest($1::text[], $2::date[], $3::bigint[]) AS told (project_id, month, events)
JOIN projects AS p ON p.id = told.project_id ORDER BY p.id, told.month
ON CONFLICT (project_id, month) DO UPDATE SET events = m.events + excluded.events
"""
_LIMITED: Final = """
SELECT l.project_id, l.events_per_second, l.events_per_month, COALESCE(m.events, 0) AS events
FROM project_limits AS l
LEFT JOIN accepted_months AS m ON m.project_id = l.project_id AND m.month = $1
LIMIT $2
"""
_USES: Final = """
SELECT p.id, p.display_name, l.events_per_second, l.events_per_month,
    COALESCE(m.events, 0) AS events
FROM projects AS p
LEFT JOIN project_limits AS l ON l.project_id = p.id
LEFT JOIN accepted_months AS m ON m.project_id = p.id AND m.month = $1
WHERE p.delete_time IS NULL AND ($2::text IS NULL OR p.id = $2)
ORDER BY p.create_time, p.id LIMIT $3
"""
_SET: Final = """
INSERT INTO project_limits (project_id, events_per_second, events_per_month, update_time)
VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id) DO UPDATE SET events_per_second = excluded.events_per_second,
    events_per_month = excluded.events_per_month, update_time = excluded.update_time
"""
_CLEAR: Final = "DELETE FROM project_limits WHERE project_id = $1"
_OF_PROJECT: Final = """
SELECT events_per_second, events_per_month FROM project_limits WHERE project_id = $1
"""


async def exchange(
    database: Postgres, accepted: Mapping[tuple[str, date], int], month: date
) -> Sequence[LimitedProject]:
    """Add what was accepted by project and month; every project that has limits by then."""
    async with database.transaction() as transaction:
        if accepted:
            keys = sorted(accepted)
            await transaction.execute(
                _ADD,
                [project_id for project_id, _ in keys],
                [of for _, of in keys],
                [accepted[key] for key in keys],
            )
        rows = await transaction.rows(_LIMITED, month, LIMITED_MAX)
    return [msgspec.convert(dict(row), LimitedProject) for row in rows]


async def list_uses(
    database: Postgres, month: date, *, project_id: str | None, limit: int
) -> tuple[ProjectUse, ...]:
    """The living projects, or the one named, oldest first."""
    rows = await database.rows(_USES, month, project_id, limit)
    return tuple(msgspec.convert(dict(row), ProjectUse) for row in rows)


async def load_limits(transaction: Transaction, project_id: str) -> ProjectLimits:
    """The limits of a project; none when it has none."""
    row = await transaction.row(_OF_PROJECT, project_id)
    return ProjectLimits() if row is None else msgspec.convert(dict(row), ProjectLimits)


async def save_limits(
    transaction: Transaction, project_id: str, limits: ProjectLimits, now: datetime
) -> None:
    """Set the limits of a project."""
    if limits == ProjectLimits():
        await transaction.execute(_CLEAR, project_id)
    else:
        await transaction.execute(
            _SET, project_id, limits.events_per_second, limits.events_per_month, now
        )
