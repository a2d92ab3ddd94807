"""Organisations, projects and API keys in PostgreSQL [storage 1.1, 1.2].

Invariant: one function per question; a project and its public key appear together or not at all.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres, Transaction


class KeyKind(StrEnum):
    """What an API key may do [services 3.4]."""

    PUBLIC = "public"
    PRIVATE = "private"


class ProjectRow(Struct, frozen=True, kw_only=True):
    """A project; `timezone` is an IANA name, empty for UTC."""

    id: str
    org_id: str
    display_name: str
    timezone: str
    created_at: datetime


class KeyRow(Struct, frozen=True, kw_only=True):
    """An API key as lists show it."""

    id: str
    project_id: str
    kind: KeyKind
    display_name: str
    masked: str
    created_at: datetime


class FreshKey(Struct, frozen=True, kw_only=True):
    """An API key about to be stored; `token` is what a presented key is looked up by."""

    id: str
    kind: KeyKind
    display_name: str
    masked: str
    token: str


class KeyOwner(Struct, frozen=True, kw_only=True):
    """Whose key a token is."""

    key_id: str
    kind: KeyKind
    project_id: str
    timezone: str


_DEFAULT_ORG_LOCK: Final = 0x7075675F6F7267
_LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
_OLDEST_ORG: Final = "SELECT id FROM orgs ORDER BY create_time, id LIMIT 1"
_ADD_ORG: Final = "INSERT INTO orgs (id, display_name) VALUES ($1, $2)"
_ADD_PROJECT: Final = """
INSERT INTO projects (id, org_id, display_name, reporting_timezone) VALUES ($1, $2, $3, $4)
"""
_ADD_KEY: Final = """
INSERT INTO api_keys (id, project_id, kind, display_name, masked, token)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_PROJECTS: Final = """
SELECT id, org_id, display_name, reporting_timezone AS timezone, create_time AS created_at
FROM projects ORDER BY create_time, id LIMIT 1000
"""
_PROJECT: Final = """
SELECT id, org_id, display_name, reporting_timezone AS timezone, create_time AS created_at
FROM projects WHERE id = $1
"""
_KEYS: Final = """
SELECT id, project_id, kind, display_name, masked, create_time AS created_at
FROM api_keys WHERE project_id = $1 ORDER BY create_time, id LIMIT 1000
"""
_OWNER: Final = """
SELECT k.id AS key_id, k.kind, p.id AS project_id, p.reporting_timezone AS timezone
FROM api_keys AS k JOIN projects AS p ON p.id = k.project_id
WHERE k.token = $1
"""
_DROP_KEY: Final = "DELETE FROM api_keys WHERE id = $1 OR token = $2 RETURNING token"


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


async def add_key(transaction: Transaction, *, project_id: str, key: FreshKey) -> None:
    """Store a key; raises NotFoundError when the project does not exist."""
    await transaction.execute(
        _ADD_KEY, key.id, project_id, key.kind.value, key.display_name, key.masked, key.token
    )


async def list_projects(database: Postgres) -> tuple[ProjectRow, ...]:
    """All projects, oldest first, at most a thousand."""
    return tuple(_project(row) for row in await database.rows(_PROJECTS))


async def find_project(database: Postgres, project_id: str) -> ProjectRow | None:
    """The project of this id, or None."""
    row = await database.row(_PROJECT, project_id)
    return None if row is None else _project(row)


async def list_keys(database: Postgres, project_id: str) -> tuple[KeyRow, ...]:
    """The keys of a project, oldest first, at most a thousand."""
    return tuple(
        msgspec.convert(dict(row), KeyRow) for row in await database.rows(_KEYS, project_id)
    )


async def find_key_owner(database: Postgres, token: str) -> KeyOwner | None:
    """Whose key this look-up token is, or None."""
    row = await database.row(_OWNER, token)
    return None if row is None else msgspec.convert(dict(row), KeyOwner)


async def drop_key(database: Postgres, *, key_id: str, token: str) -> str | None:
    """Delete the key with this id or look-up token; its token, or None when there is none."""
    row = await database.row(_DROP_KEY, key_id, token)
    return None if row is None else str(row["token"])


def _project(row: Record) -> ProjectRow:
    return msgspec.convert(dict(row), ProjectRow)
