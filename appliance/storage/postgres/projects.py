"""Projects in PostgreSQL, and storing what is fresh: projects, keys [storage 1.1, 1.2].

Invariant: one function per question; a project and its public key appear together or not at all;
a deleted project is in no answer. Changing projects stands in `project_admin.py`, what becomes of
keys in `api_keys.py`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres, Transaction


class KeyKind(StrEnum):
    """What an API key may do [services 3.4]."""

    PUBLIC = "public"
    PRIVATE = "private"


class ProjectRow(Struct, frozen=True, kw_only=True):
    """A project; `timezone` is an IANA name, empty for UTC; `retention_days` None for ever."""

    id: str
    org_id: str
    display_name: str
    timezone: str
    created_at: datetime
    retention_days: int | None = None


class FreshKey(Struct, frozen=True, kw_only=True):
    """An API key about to be stored; `token` is what a presented key is looked up by."""

    id: str
    kind: KeyKind
    display_name: str
    masked: str
    token: str


_DEFAULT_ORG_LOCK: Final = 0x7075675F6F7267
_LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
_OLDEST_ORG: Final = "SELECT id FROM orgs ORDER BY create_time, id LIMIT 1"
_ADD_ORG: Final = "INSERT INTO orgs (id, display_name) VALUES ($1, $2)"
_ADD_PROJECT: Final = """
INSERT INTO projects (id, org_id, display_name, reporting_timezone) VALUES ($1, $2, $3, $4)
"""
_ADD_KEY: Final = """
INSERT INTO api_keys (id, project_id, kind, display_name, masked, token)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING create_time
"""
_PROJECTS: Final = """
SELECT id, org_id, display_name, reporting_timezone AS timezone, create_time AS created_at,
    retention_days
FROM projects WHERE delete_time IS NULL ORDER BY create_time, id LIMIT 1000
"""
_PROJECT: Final = """
SELECT id, org_id, display_name, reporting_timezone AS timezone, create_time AS created_at,
    retention_days
FROM projects WHERE id = $1 AND delete_time IS NULL
"""


async def ensure_default_org(transaction: Transaction, *, fresh_id: str, display_name: str) -> str:
    """The oldest organisation's id; made with `fresh_id` when there is none."""
    await transaction.execute(_LOCK, _DEFAULT_ORG_LOCK)
    row = await transaction.row(_OLDEST_ORG)
    if row is not None:
        return str(row["id"])
    await transaction.execute(_ADD_ORG, fresh_id, display_name)
    return fresh_id


async def add_project(
    transaction: Transaction, *, project_id: str, org_id: str, display_name: str, timezone: str
) -> None:
    """Store a project; raises ConflictError when the organisation has one of this name."""
    await transaction.execute(_ADD_PROJECT, project_id, org_id, display_name, timezone)


async def add_key(transaction: Transaction, *, project_id: str, key: FreshKey) -> datetime:
    """Store a key; when that was. Raises NotFoundError when the project does not exist."""
    row = await transaction.row(
        _ADD_KEY, key.id, project_id, key.kind.value, key.display_name, key.masked, key.token
    )
    assert row is not None
    return cast("datetime", row["create_time"])


async def list_projects(database: Postgres) -> tuple[ProjectRow, ...]:
    """All projects that are not deleted, oldest first, at most a thousand."""
    return tuple(_project(row) for row in await database.rows(_PROJECTS))


async def find_project(database: Postgres, project_id: str) -> ProjectRow | None:
    """The project of this id, or None when there is none or it is deleted."""
    row = await database.row(_PROJECT, project_id)
    return None if row is None else _project(row)


def _project(row: Record) -> ProjectRow:
    return msgspec.convert(dict(row), ProjectRow)
