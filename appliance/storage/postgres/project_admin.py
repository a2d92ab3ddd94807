"""Changing projects in PostgreSQL: names, zones, credentials, retention, deletion [storage 1.2].

Invariant: a project is locked before it is changed, so whoever changes it has seen it alive. A
deleted one is called by its id and remembers its name (migration 0005): the name is free for
others. Push credentials leave this module only for administrators [services 12 #12].
"""

from datetime import datetime
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.base.errors import ConflictError
from appliance.storage.postgres.pool import Postgres, Transaction
from appliance.storage.postgres.projects import ProjectRow

PROJECTS_LISTED_MAX: Final = 10_000


class OrgProject(Struct, frozen=True, kw_only=True):
    """A project of an organisation; `push_account` is empty unless the asker is administrator."""

    id: str
    org_id: str
    display_name: str
    timezone: str
    push_account: str


class DeletedRow(Struct, frozen=True, kw_only=True):
    """A deleted project that can still be restored."""

    id: str
    org_id: str
    display_name: str
    deleted_at: datetime


_IS_ADMIN: Final = """
SELECT role = 'ORG_ROLE_ADMIN' AS is_admin FROM org_members
WHERE org_id = $1 AND customer_id = $2 FOR SHARE
"""
_OF_ORG: Final = """
SELECT p.id, p.org_id, p.display_name, p.reporting_timezone AS timezone,
    CASE WHEN m.role = 'ORG_ROLE_ADMIN' THEN p.fcm_service_json ELSE '' END AS push_account
FROM projects AS p
LEFT JOIN org_members AS m ON m.org_id = p.org_id AND m.customer_id = $2
WHERE p.org_id = $1 AND p.delete_time IS NULL ORDER BY p.create_time, p.id LIMIT $3
"""
_FOR_CUSTOMER: Final = """
SELECT p.id, p.org_id, p.display_name, p.reporting_timezone AS timezone,
    CASE WHEN m.role = 'ORG_ROLE_ADMIN' THEN p.fcm_service_json ELSE '' END AS push_account
FROM projects AS p
LEFT JOIN org_members AS m ON m.org_id = p.org_id AND m.customer_id = $2
WHERE p.id = $1 AND p.delete_time IS NULL
"""
_LOCK: Final = """
SELECT id, org_id, display_name, reporting_timezone AS timezone, create_time AS created_at,
    retention_days
FROM projects WHERE id = $1 AND delete_time IS NULL FOR NO KEY UPDATE
"""
_LOCK_DELETED: Final = """
SELECT id, org_id, COALESCE(deleted_name, display_name) AS display_name, delete_time AS deleted_at
FROM projects WHERE id = $1 AND delete_time > $2 FOR NO KEY UPDATE
"""
_RENAME: Final = "UPDATE projects SET display_name = $2 WHERE id = $1"
_SET_TIMEZONE: Final = "UPDATE projects SET reporting_timezone = $2 WHERE id = $1"
_SET_PUSH_ACCOUNT: Final = "UPDATE projects SET fcm_service_json = $2 WHERE id = $1"
_SET_RETENTION: Final = "UPDATE projects SET retention_days = $2 WHERE id = $1"
_DELETE: Final = """
UPDATE projects SET delete_time = $2, deleted_name = display_name, display_name = id WHERE id = $1
"""
_RESTORE: Final = """
UPDATE projects SET delete_time = NULL, deleted_name = NULL, display_name = $2 WHERE id = $1
"""
_DELETED: Final = """
SELECT id, org_id, COALESCE(deleted_name, display_name) AS display_name, delete_time AS deleted_at
FROM projects WHERE delete_time > $1 ORDER BY delete_time, id LIMIT $2
"""


async def lock_is_admin(transaction: Transaction, org_id: str, customer_id: str) -> bool:
    """Whether a customer administers an organisation, and goes on to until the transaction ends."""
    row = await transaction.row(_IS_ADMIN, org_id, customer_id)
    return row is not None and cast("bool", row["is_admin"])


async def list_org_projects(
    database: Postgres, org_id: str, *, customer_id: str
) -> tuple[OrgProject, ...]:
    """The projects of an organisation as a customer may see them, oldest first."""
    rows = await database.rows(_OF_ORG, org_id, customer_id, PROJECTS_LISTED_MAX)
    return tuple(msgspec.convert(dict(row), OrgProject) for row in rows)


async def find_project_for(
    database: Postgres, project_id: str, *, customer_id: str
) -> OrgProject | None:
    """A project as a customer may see it."""
    row = await database.row(_FOR_CUSTOMER, project_id, customer_id)
    return None if row is None else msgspec.convert(dict(row), OrgProject)


async def lock_project(transaction: Transaction, project_id: str) -> ProjectRow | None:
    """A living project, which nobody else changes or deletes before the transaction ends."""
    row = await transaction.row(_LOCK, project_id)
    return None if row is None else msgspec.convert(dict(row), ProjectRow)


async def rename_project(transaction: Transaction, project_id: str, display_name: str) -> None:
    """Call a project so; raises ConflictError (`PROJECT_NAME_TAKEN`)."""
    try:
        await transaction.execute(_RENAME, project_id, display_name)
    except ConflictError as error:
        raise name_taken(display_name) from error


async def set_timezone(transaction: Transaction, project_id: str, timezone: str) -> None:
    """Report a project in this zone, as `check_timezone` stores it."""
    await transaction.execute(_SET_TIMEZONE, project_id, timezone)


async def set_push_account(transaction: Transaction, project_id: str, text: str) -> None:
    """Store push credentials as they are."""
    await transaction.execute(_SET_PUSH_ACCOUNT, project_id, text)


async def set_retention(transaction: Transaction, project_id: str, days: int | None) -> None:
    """Keep events for so many days, or for ever."""
    await transaction.execute(_SET_RETENTION, project_id, days)


async def mark_deleted(transaction: Transaction, project_id: str, at: datetime) -> None:
    """Take a project and its keys out of every answer and free its name."""
    await transaction.execute(_DELETE, project_id, at)


async def lock_deleted(
    transaction: Transaction, project_id: str, *, after: datetime
) -> DeletedRow | None:
    """A project deleted after then, which nobody purges before the transaction ends."""
    row = await transaction.row(_LOCK_DELETED, project_id, after)
    return None if row is None else msgspec.convert(dict(row), DeletedRow)


async def unmark_deleted(transaction: Transaction, project_id: str, display_name: str) -> None:
    """Bring a deleted project back under this name; raises ConflictError (`PROJECT_NAME_TAKEN`)."""
    try:
        await transaction.execute(_RESTORE, project_id, display_name)
    except ConflictError as error:
        raise name_taken(display_name) from error


async def list_deleted(database: Postgres, *, after: datetime) -> tuple[DeletedRow, ...]:
    """Projects deleted after then, earliest first."""
    rows = await database.rows(_DELETED, after, PROJECTS_LISTED_MAX)
    return tuple(msgspec.convert(dict(row), DeletedRow) for row in rows)


def name_taken(display_name: str) -> ConflictError:
    """The error for a name that another project of the organisation has."""
    return ConflictError(
        "PROJECT_NAME_TAKEN",
        f"there is a project {display_name!r} already",
        hint="choose another name",
    )
