"""Projects of many organisations at once, as one member may see them [services 3.1, 4].

Invariant: a project comes with the role its reader has, or not at all; one statement answers for
any number of ids. Push credentials are never read here.
"""

from collections.abc import Sequence
from typing import Final, cast

from msgspec import Struct

from appliance.domain.access.roles import Role
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres

LISTED_MAX: Final = 10_000


class MemberProject(Struct, frozen=True, kw_only=True):
    """A living project and the role of the member who reads it."""

    id: str
    org_id: str
    display_name: str
    timezone: str
    role: Role


_COLUMNS: Final = """
SELECT p.id, p.org_id, p.display_name, p.reporting_timezone AS timezone, m.role
FROM projects AS p
JOIN org_members AS m ON m.org_id = p.org_id AND m.customer_id = $1
WHERE p.delete_time IS NULL AND
"""
_BY_ID: Final = _COLUMNS + " p.id = ANY($2) LIMIT $3"
_OF_ORGS: Final = _COLUMNS + " p.org_id = ANY($2) ORDER BY p.create_time, p.id LIMIT $3"


async def find_member_projects(
    database: Postgres, customer_id: str, project_ids: Sequence[str]
) -> tuple[MemberProject, ...]:
    """Those of these projects that a customer may see, in no order."""
    rows = await database.rows(_BY_ID, customer_id, list(project_ids), LISTED_MAX)
    return tuple(map(_project, rows))


async def list_member_projects(
    database: Postgres, customer_id: str, org_ids: Sequence[str]
) -> tuple[MemberProject, ...]:
    """The projects of those of these organisations a customer belongs to, oldest first."""
    rows = await database.rows(_OF_ORGS, customer_id, list(org_ids), LISTED_MAX)
    return tuple(map(_project, rows))


def _project(row: Record) -> MemberProject:
    return MemberProject(
        id=cast("str", row["id"]),
        org_id=cast("str", row["org_id"]),
        display_name=cast("str", row["display_name"]),
        timezone=cast("str", row["timezone"]),
        role=Role.from_stored(cast("str", row["role"])),
    )
