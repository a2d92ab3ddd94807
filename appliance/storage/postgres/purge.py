"""Takes away rows whose time is over, one bounded page at a time.

Invariant: each statement deletes at most `$2` rows that are older than `$1`; a caller repeats it in
transactions of its own until it deletes fewer. What must outlive its end, and how long, is decided
in `services/jobs/purge.py` (decision 0021).
"""

from datetime import datetime
from enum import StrEnum
from typing import Final, LiteralString

import msgspec
from msgspec import Struct

from appliance.storage.postgres.jobs import count_of
from appliance.storage.postgres.pool import Postgres, Transaction


class Waste(StrEnum):
    """What is purged; the words of the job's report."""

    TOKENS = "mailed links"
    SESSIONS = "sessions"
    INVITATIONS = "invitations"
    SENDS = "counted invitation mails"
    GUARDS = "sign-in guards"
    RUNS = "records of jobs"
    KEYS = "API keys that have ended"
    FIRINGS = "firings of alerts"


_DELETE: Final[dict[Waste, LiteralString]] = {
    Waste.TOKENS: """
DELETE FROM email_action_tokens WHERE id IN (
    SELECT id FROM email_action_tokens WHERE expire_time < $1 ORDER BY expire_time LIMIT $2
)
""",
    Waste.SESSIONS: """
DELETE FROM refresh_tokens WHERE id IN (
    SELECT id FROM refresh_tokens WHERE expire_time < $1 LIMIT $2
)
""",
    Waste.INVITATIONS: """
DELETE FROM org_invitations WHERE id IN (
    SELECT id FROM org_invitations
    WHERE status = 'INVITATION_STATUS_PENDING' AND expire_time < $1 LIMIT $2
)
""",
    Waste.SENDS: """
DELETE FROM org_invitation_sends WHERE id IN (
    SELECT id FROM org_invitation_sends WHERE send_time < $1 LIMIT $2
)
""",
    Waste.GUARDS: """
DELETE FROM sign_in_guards WHERE (scope, subject_hash) IN (
    SELECT scope, subject_hash FROM sign_in_guards
    WHERE window_start < $1 AND (locked_until IS NULL OR locked_until < $1)
    ORDER BY window_start LIMIT $2
)
""",
    Waste.RUNS: """
DELETE FROM job_runs WHERE (name, start_time) IN (
    SELECT name, start_time FROM job_runs WHERE start_time < $1 LIMIT $2
)
""",
    Waste.KEYS: """
DELETE FROM api_keys WHERE id IN (
    SELECT id FROM api_keys WHERE expire_time < $1 ORDER BY expire_time LIMIT $2
)
""",
    Waste.FIRINGS: """
DELETE FROM alert_firings WHERE id IN (
    SELECT id FROM alert_firings WHERE end_time < $1 ORDER BY end_time LIMIT $2
)
""",
}
_ALLOW: Final = "SELECT set_config('pug.audit_retention', 'on', true)"
_DELETE_AUDIT: Final = """
DELETE FROM audit_entries WHERE id IN (
    SELECT id FROM audit_entries WHERE create_time < $1 ORDER BY create_time, id LIMIT $2
)
"""
_DELETED_PROJECTS: Final = """
SELECT id, org_id, display_name FROM projects WHERE delete_time < $1 ORDER BY delete_time LIMIT $2
"""
_ALLOW_REST: Final = "SELECT set_config('idle_in_transaction_session_timeout', $1, true)"
_LOCK_DELETED: Final = "SELECT 1 FROM projects WHERE id = $1 AND delete_time < $2 FOR UPDATE"
_DELETE_PROJECT: Final = "DELETE FROM projects WHERE id = $1"
_RETENTIONS: Final = """
SELECT id, retention_days FROM projects WHERE retention_days IS NOT NULL ORDER BY id
"""
_STUCK: Final = """
SELECT id, project_id, COALESCE(profile_id, '') AS profile_id,
    COALESCE(external_id, '') AS external_id
FROM compliance_requests
WHERE kind = 'erase' AND status IN ('pending', 'processing')
  AND GREATEST(request_time, update_time) < $1 AND id > $2
ORDER BY id LIMIT $3
"""


class DeletedProject(Struct, frozen=True, kw_only=True):
    """A project whose time to be restored is over."""

    id: str
    org_id: str
    display_name: str


class StuckErasure(Struct, frozen=True, kw_only=True):
    """An erasure that was asked for and did not come to its end."""

    id: str
    project_id: str
    profile_id: str
    external_id: str


async def delete_waste(
    transaction: Transaction, waste: Waste, *, before: datetime, limit: int
) -> int:
    """Delete one page; how many rows it was."""
    return count_of(await transaction.execute(_DELETE[waste], before, limit))


async def delete_audit_entries(transaction: Transaction, *, before: datetime, limit: int) -> int:
    """Delete one page of old entries, the only deletion the audit log allows; how many."""
    await transaction.execute(_ALLOW)
    return count_of(await transaction.execute(_DELETE_AUDIT, before, limit))


async def list_deleted_projects(
    database: Postgres, *, before: datetime, limit: int
) -> tuple[DeletedProject, ...]:
    """Projects that were deleted before, the earliest first."""
    return tuple(
        msgspec.convert(dict(row), DeletedProject)
        for row in await database.rows(_DELETED_PROJECTS, before, limit)
    )


async def lock_deleted_project(
    transaction: Transaction, project_id: str, *, before: datetime, rest_seconds_max: int
) -> bool:
    """Keep a deleted project from being restored; False when it was already.

    The transaction may rest so long while other stores work.
    """
    await transaction.execute(_ALLOW_REST, f"{rest_seconds_max}s")
    return await transaction.row(_LOCK_DELETED, project_id, before) is not None


async def delete_project(transaction: Transaction, project_id: str) -> None:
    """Delete a project for good, with everything that belongs to it."""
    await transaction.execute(_DELETE_PROJECT, project_id)


async def list_retentions(database: Postgres) -> dict[str, int]:
    """The days of events kept, of each project that does not keep them for ever."""
    return {
        str(row["id"]): msgspec.convert(row["retention_days"], int)
        for row in await database.rows(_RETENTIONS)
    }


async def list_stuck_erasures(
    database: Postgres, *, before: datetime, after_id: str, limit: int
) -> tuple[StuckErasure, ...]:
    """Open erasures that nothing happened to since, in the order of their ids."""
    return tuple(
        msgspec.convert(dict(row), StuckErasure)
        for row in await database.rows(_STUCK, before, after_id, limit)
    )
