"""API keys in PostgreSQL: whose they are, when they end, when they were last used [storage 1.2].

Invariant: a key counts only while it has not expired and its project is not deleted, in every
question asked here. Whatever changes that for a key changes the number of `load_key_version` in the
same transaction, by triggers of migration 0006. Storing a fresh key stands in `projects.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres, Transaction
from appliance.storage.postgres.projects import KeyKind

KEYS_LISTED_MAX: Final = 10_000


class KeyRow(Struct, frozen=True, kw_only=True):
    """An API key as lists show it; `key` is the whole text of a public one, else empty."""

    id: str
    project_id: str
    org_id: str
    kind: KeyKind
    display_name: str
    masked: str
    key: str
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None


class KeyOwner(Struct, frozen=True, kw_only=True):
    """Whose key a token is, and until when."""

    key_id: str
    kind: KeyKind
    project_id: str
    timezone: str
    expires_at: datetime | None


class DroppedKey(Struct, frozen=True, kw_only=True):
    """A key that is gone; `token` is what it was looked up by."""

    id: str
    project_id: str
    org_id: str
    kind: KeyKind
    token: str


_LIVE: Final = (
    "p.delete_time IS NULL AND (k.expire_time IS NULL OR k.expire_time > $2::timestamptz)"
)
_ROW: Final = """
SELECT k.id, k.project_id, p.org_id, k.kind, k.display_name, k.masked,
    CASE WHEN k.kind = 'public' THEN k.token ELSE '' END AS key,
    k.create_time AS created_at, k.last_use_time AS used_at, k.expire_time AS expires_at
FROM api_keys AS k JOIN projects AS p ON p.id = k.project_id
"""
_KEYS: Final = f"""{_ROW}
WHERE k.project_id = $1 AND {_LIVE} ORDER BY k.create_time, k.id LIMIT $3
"""
_LOCK: Final = f"""{_ROW}
WHERE k.id = $1 AND {_LIVE} FOR UPDATE OF k
"""
_OWNER: Final = """
SELECT k.id AS key_id, k.kind, p.id AS project_id, p.reporting_timezone AS timezone,
    k.expire_time AS expires_at
FROM api_keys AS k JOIN projects AS p ON p.id = k.project_id
WHERE k.token = $1 AND p.delete_time IS NULL
  AND (k.expire_time IS NULL OR k.expire_time > $2::timestamptz)
"""
_VERSION: Final = "SELECT version FROM key_changes"
_DROP: Final = """
DELETE FROM api_keys AS k USING projects AS p
WHERE p.id = k.project_id AND p.delete_time IS NULL
  AND (k.expire_time IS NULL OR k.expire_time > $2::timestamptz)
  AND (k.id = $1 OR k.token = $3) AND ($4::text IS NULL OR k.project_id = $4)
RETURNING k.id, k.project_id, p.org_id, k.kind, k.token
"""
_END_AT: Final = """
UPDATE api_keys SET expire_time = LEAST(expire_time, $2) WHERE id = $1
RETURNING token, expire_time
"""
# Locked in the order of ids: two processes that tell of the same keys never wait for each other.
_USED: Final = """
WITH used AS (
    SELECT k.id, told.at FROM unnest($1::text[], $2::timestamptz[]) AS told (id, at)
    JOIN api_keys AS k ON k.id = told.id
    WHERE k.last_use_time IS NULL OR k.last_use_time < told.at
    ORDER BY k.id FOR NO KEY UPDATE OF k
)
UPDATE api_keys AS k SET last_use_time = used.at FROM used WHERE k.id = used.id
"""


async def list_keys(database: Postgres, project_id: str, *, now: datetime) -> tuple[KeyRow, ...]:
    """The living keys of a project, oldest first."""
    rows = await database.rows(_KEYS, project_id, now, KEYS_LISTED_MAX)
    return tuple(_key(row) for row in rows)


async def lock_key(transaction: Transaction, key_id: str, *, now: datetime) -> KeyRow | None:
    """A living key, which nobody else changes before the transaction ends."""
    row = await transaction.row(_LOCK, key_id, now)
    return None if row is None else _key(row)


async def find_key_owner(database: Postgres, token: str, *, now: datetime) -> KeyOwner | None:
    """Whose key this look-up token is, or None."""
    row = await database.row(_OWNER, token, now)
    return None if row is None else msgspec.convert(dict(row), KeyOwner)


async def load_key_version(database: Postgres) -> int:
    """A number that changes whenever any answer of `find_key_owner` may have changed."""
    row = await database.row(_VERSION)
    assert row is not None, "migration 0006 made it"
    return cast("int", row["version"])


async def drop_key(
    transaction: Transaction,
    *,
    key_id: str,
    now: datetime,
    token: str = "",
    project_id: str | None = None,
) -> DroppedKey | None:
    """Delete a living key by its id or look-up token, in one project where one is named."""
    row = await transaction.row(_DROP, key_id, now, token, project_id)
    return None if row is None else msgspec.convert(dict(row), DroppedKey)


async def end_key_at(transaction: Transaction, key_id: str, at: datetime) -> tuple[str, datetime]:
    """Let a key end then, or earlier where it was to; its look-up token and its end."""
    row = await transaction.row(_END_AT, key_id, at)
    assert row is not None, "the caller has locked it"
    return str(row["token"]), cast("datetime", row["expire_time"])


async def save_last_uses(database: Postgres, used_at: Mapping[str, datetime]) -> None:
    """Remember when keys were used last, in one statement; an earlier time changes nothing."""
    ids: Sequence[str] = list(used_at)
    await database.execute(_USED, ids, list(used_at.values()))


def _key(row: Record) -> KeyRow:
    return msgspec.convert(dict(row), KeyRow)
