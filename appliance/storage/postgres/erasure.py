"""The erasure ledger, and what of a person stands in PostgreSQL [storage 1.5, profiles 7].

Invariant: only rows of kind `erase` are seen here, so a row of kind `export` can neither be erased
nor be told. Frozen ids grow and are never cleared; a row becomes `completed` once.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.domain.people.erasure import ErasureReceipt, ErasureView, QueueMarks
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.jobs import count_of
from appliance.storage.postgres.pool import Postgres, Transaction

_ROW: Final = """
SELECT id, project_id, COALESCE(profile_id, '') AS profile_id,
    COALESCE(external_id, '') AS external_id, status, distinct_ids, session_ids, events_affected,
    requested_by, request_time AS requested_at, complete_time AS completed_at, error,
    queue_marks::text AS marks, receipt::text AS receipt
FROM compliance_requests
"""
_LOAD: Final = f"{_ROW} WHERE id = $1 AND kind = 'erase'"
_OPEN: Final = f"""{_ROW}
WHERE project_id = $1 AND kind = 'erase' AND status <> 'completed'
  AND ((profile_id = $2 AND $2 <> '') OR (external_id = $3 AND $3 <> ''))
ORDER BY request_time DESC, id DESC LIMIT 1
"""
_REOPEN: Final = """
UPDATE compliance_requests SET status = 'pending', error = NULL, queue_marks = NULL
WHERE id = $1 AND kind = 'erase' AND status = 'failed'
"""
_ADD: Final = """
INSERT INTO compliance_requests
    (id, project_id, kind, profile_id, external_id, requested_by, request_time, update_time)
VALUES ($1, $2, 'erase', NULLIF($3, ''), NULLIF($4, ''), $5, $6, $6)
"""
_ADD_AGAIN: Final = """
INSERT INTO compliance_requests
    (id, project_id, kind, profile_id, external_id, distinct_ids, session_ids, events_affected,
     request_time)
SELECT $1, p.id, 'erase', NULLIF($3, ''), NULLIF($4, ''), $5, '{}', $6, $7
FROM projects AS p WHERE p.id = $2
ON CONFLICT DO NOTHING
"""
_OPEN_AGAIN: Final = """
UPDATE compliance_requests SET status = 'pending', complete_time = NULL, error = NULL,
    queue_marks = NULL, distinct_ids = $2, session_ids = COALESCE(session_ids, '{}')
WHERE id = $1 AND kind = 'erase' AND status <> 'completed' AND ($3 OR status <> 'failed')
"""
_ASKED: Final = """
SELECT 1 FROM compliance_requests
WHERE project_id = $1 AND external_id = $2 AND kind = 'erase'
  AND request_time >= to_timestamp($3::bigint / 1e6)
LIMIT 1
"""
_COMPLETED: Final = """
SELECT id FROM compliance_requests WHERE id = ANY($1::text[]) AND status = 'completed'
"""
_HIDE: Final = """
UPDATE profiles SET delete_time = $3, version = nextval('profile_versions')
WHERE project_id = $1 AND id = $2 AND delete_time IS NULL
"""
_SILENCE: Final = """
UPDATE profile_devices SET status = 'inactive'
WHERE project_id = $1 AND profile_id = $2 AND status = 'active'
"""
_LIVE: Final = """
SELECT id, COALESCE(external_id, '') AS external_id FROM profiles
WHERE project_id = $1 AND delete_time IS NULL
  AND ($2 = '' OR id = $2) AND ($3 = '' OR external_id = $3)
LIMIT 1
"""
_OF_PERSON: Final = """
SELECT id FROM profiles
WHERE project_id = $1 AND (id = ANY($2::text[]) OR (external_id = $3 AND $3 <> '')) ORDER BY id
"""
_FREEZE: Final = """
UPDATE compliance_requests SET status = 'processing', distinct_ids = $2, session_ids = $3,
    events_affected = $4, queue_marks = $5::jsonb, receipt = $6::jsonb
WHERE id = $1 AND kind = 'erase' AND status IN ('pending', 'processing')
"""
_COUNT_PROFILES: Final = """
SELECT count(*) AS n FROM profiles WHERE project_id = $1 AND id = ANY($2::text[])
"""
_COUNT_DEVICES: Final = """
SELECT count(*) AS n FROM profile_devices WHERE project_id = $1 AND profile_id = ANY($2::text[])
"""
_DELETE_DEVICES: Final = """
DELETE FROM profile_devices WHERE project_id = $1 AND profile_id = ANY($2::text[])
"""
_UNLIST: Final = """
DELETE FROM cohort_ids WHERE project_id = $1 AND distinct_id = ANY($2::text[])
"""
_DELETE_PROFILES: Final = "DELETE FROM profiles WHERE project_id = $1 AND id = ANY($2::text[])"
_COMPLETE: Final = """
UPDATE compliance_requests
SET status = 'completed', complete_time = $2, error = NULL, receipt = $3::jsonb
WHERE id = $1 AND kind = 'erase' AND status = 'processing'
"""
_FAIL: Final = """
UPDATE compliance_requests SET status = 'failed', error = $2
WHERE id = $1 AND kind = 'erase' AND status IN ('pending', 'processing')
"""
_LIST: Final = f"""{_ROW}
WHERE kind = 'erase' AND project_id = $1 ORDER BY request_time DESC, id DESC LIMIT $2
"""


class LiveProfile(Struct, frozen=True, kw_only=True):
    """A profile that was not deleted; the external id is empty where it has none."""

    id: str
    external_id: str


async def load_erasure(database: Postgres, request_id: str) -> ErasureView | None:
    """A request of kind `erase`, or None."""
    row = await database.row(_LOAD, request_id)
    return None if row is None else _view(row)


async def list_erasures(
    database: Postgres, project_id: str, *, limit: int
) -> tuple[ErasureView, ...]:
    """The requests of a project, newest first."""
    return tuple(_view(row) for row in await database.rows(_LIST, project_id, limit))


async def find_unfinished(
    transaction: Transaction | Postgres, project_id: str, *, profile_id: str, external_id: str
) -> ErasureView | None:
    """The newest request that is not completed and names one of these ids."""
    row = await transaction.row(_OPEN, project_id, profile_id, external_id)
    return None if row is None else _view(row)


async def reopen_erasure(transaction: Transaction | Postgres, request_id: str) -> None:
    """Make a failed request pending; any other stays as it is."""
    await transaction.execute(_REOPEN, request_id)


async def add_erasure(
    transaction: Transaction,
    *,
    request_id: str,
    project_id: str,
    profile_id: str,
    external_id: str,
    requested_by: str | None,
    now: datetime,
) -> None:
    """Store a request; raises ConflictError when an open one has an id of it."""
    await transaction.execute(
        _ADD, request_id, project_id, profile_id, external_id, requested_by, now
    )


async def is_erasure_asked(
    database: Postgres, project_id: str, external_id: str, *, since_micros: int
) -> bool:
    """Whether somebody asked for the erasure of this external id at that time or later."""
    return await database.row(_ASKED, project_id, external_id, since_micros) is not None


async def hide_profile(
    transaction: Transaction, project_id: str, profile_id: str, *, now: datetime
) -> None:
    """Delete a profile softly and silence its devices; one that is not there is fine."""
    await transaction.execute(_HIDE, project_id, profile_id, now)
    await transaction.execute(_SILENCE, project_id, profile_id)


async def find_live_profile(
    database: Postgres, project_id: str, *, profile_id: str = "", external_id: str = ""
) -> LiveProfile | None:
    """A profile that was not deleted, by its id or its external id."""
    if not profile_id and not external_id:
        return None
    row = await database.row(_LIVE, project_id, profile_id, external_id)
    return None if row is None else msgspec.convert(dict(row), LiveProfile)


async def find_profiles_of(
    database: Postgres, project_id: str, ids: Sequence[str], external_id: str
) -> tuple[str, ...]:
    """The ids of every profile of a person, also of deleted ones."""
    rows = await database.rows(_OF_PERSON, project_id, list(ids), external_id)
    return tuple(str(row["id"]) for row in rows)


async def freeze_erasure(
    database: Postgres,
    request_id: str,
    *,
    distinct_ids: Sequence[str],
    session_ids: Sequence[str],
    events: int,
    marks: QueueMarks,
    receipt: ErasureReceipt,
) -> bool:
    """Keep what the request is about and set it to processing; False when it is not open."""
    tag = await database.execute(
        _FREEZE,
        request_id,
        list(distinct_ids),
        list(session_ids),
        events,
        msgspec.json.encode(marks).decode(),
        msgspec.json.encode(receipt).decode(),
    )
    return count_of(tag) == 1


async def count_person_rows(
    database: Postgres, project_id: str, ids: Sequence[str]
) -> tuple[int, int]:
    """How many profiles and devices there are of these ids."""
    profiles = await database.row(_COUNT_PROFILES, project_id, list(ids))
    devices = await database.row(_COUNT_DEVICES, project_id, list(ids))
    assert profiles is not None
    assert devices is not None
    return cast("int", profiles["n"]), cast("int", devices["n"])


async def delete_person_rows(database: Postgres, project_id: str, ids: Sequence[str]) -> int:
    """Delete listed ids, devices, then profiles, in one transaction; how many profiles.

    Devices first: a profile that goes would leave them behind with their push tokens.
    """
    async with database.transaction() as transaction:
        await transaction.execute(_UNLIST, project_id, list(ids))
        await transaction.execute(_DELETE_DEVICES, project_id, list(ids))
        return count_of(await transaction.execute(_DELETE_PROFILES, project_id, list(ids)))


async def complete_erasure(
    database: Postgres, request_id: str, *, receipt: ErasureReceipt, now: datetime
) -> bool:
    """Set a request to completed; False when it was not processing."""
    tag = await database.execute(_COMPLETE, request_id, now, msgspec.json.encode(receipt).decode())
    return count_of(tag) == 1


async def fail_erasure(database: Postgres, request_id: str, error: str) -> None:
    """Set an open request to failed, with its cause."""
    await database.execute(_FAIL, request_id, error)


async def find_completed(database: Postgres, ids: Sequence[str]) -> frozenset[str]:
    """Which of these requests the ledger knows as completed."""
    rows = await database.rows(_COMPLETED, list(ids))
    return frozenset(str(row["id"]) for row in rows)


async def restore_erasure(
    database: Postgres,
    *,
    request_id: str,
    project_id: str,
    profile_id: str,
    external_id: str,
    distinct_ids: Sequence[str],
    events: int,
    requested_at: datetime,
    also_failed: bool,
) -> bool:
    """Bring back a request that the ledger lost or does not know as completed.

    True when it is open now; False when the ledger has it completed, or failed without
    `also_failed`, or when its project is gone. Raises ConflictError when another open request names
    the same person.
    """
    ids = list(distinct_ids)
    async with database.transaction() as transaction:
        added = await transaction.execute(
            _ADD_AGAIN,
            request_id,
            project_id,
            profile_id,
            external_id,
            ids,
            events,
            requested_at,
        )
        if count_of(added):
            return True
        opened = await transaction.execute(_OPEN_AGAIN, request_id, ids, also_failed)
    return count_of(opened) == 1


def _view(row: Record) -> ErasureView:
    fields = dict(row)
    marks, receipt = fields.pop("marks"), fields.pop("receipt")
    return msgspec.convert(
        {
            **fields,
            "marks": None if marks is None else msgspec.json.decode(str(marks)),
            "receipt": None if receipt is None else msgspec.json.decode(str(receipt)),
        },
        ErasureView,
    )
