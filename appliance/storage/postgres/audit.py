"""The audit log: rows are only ever added; the database itself refuses anything else."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from appliance.domain.access.callers import Actor
from appliance.storage.postgres.pool import Transaction

_ADD: Final = """
INSERT INTO audit_entries (
    id, create_time, actor_kind, actor_id, actor_label, address,
    action, org_id, project_id, subject_kind, subject_id, details
) VALUES ($1, $2, $3, $4, left($5, 255), left($6, 64), $7, $8, $9, $10, left($11, 255), $12::jsonb)
"""


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One administrative act: who, what, when, from where.

    `action` is a token like `org.member.remove`; `details` never holds a secret.
    """

    id: str
    at: datetime
    actor: Actor
    action: str
    org_id: str = ""
    project_id: str = ""
    subject_kind: str = ""
    subject_id: str = ""
    details: Mapping[str, str] = {}


async def add_audit_entry(transaction: Transaction, entry: AuditEntry) -> None:
    """Record an act in the transaction of the act itself: both happen, or neither."""
    await transaction.execute(
        _ADD,
        entry.id,
        entry.at,
        entry.actor.kind.value,
        entry.actor.id,
        entry.actor.label,
        entry.actor.address,
        entry.action,
        entry.org_id,
        entry.project_id,
        entry.subject_kind,
        entry.subject_id,
        msgspec.json.encode(dict(entry.details)).decode(),
    )
