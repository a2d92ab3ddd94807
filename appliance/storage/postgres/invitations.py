"""Invitations, their mailed links and the record of sent mails in PostgreSQL [storage 1.1].

Invariant: a link is found by the hash of its secret only, and at most one link of an invitation is
alive. Whoever changes an invitation locks in the order of `orgs.py`: organisation, links,
invitation; whoever accepts one holds its link already.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

from msgspec import Struct

from appliance.domain.access.invitations import InvitationState
from appliance.domain.access.roles import Role
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.orgs import LISTED_MAX
from appliance.storage.postgres.pool import Postgres, Transaction


class InvitationRow(Struct, frozen=True, kw_only=True):
    """An invitation of an address into an organisation."""

    id: str
    org_id: str
    email: str
    role: Role
    state: InvitationState
    expires_at: datetime


class FreshInvitation(Struct, frozen=True, kw_only=True):
    """An invitation about to be stored; `storage_token` opens nothing [storage 1.1]."""

    row: InvitationRow
    inviter_id: str | None
    storage_token: str


class Known(Struct, frozen=True, kw_only=True):
    """What an address is to an organisation already."""

    is_member: bool
    is_invited: bool


_COLUMNS: Final = "SELECT id, org_id, email, role, status, expire_time FROM org_invitations"
_OF_ORG: Final = f"""{_COLUMNS}
WHERE org_id = $1 ORDER BY create_time DESC, id DESC LIMIT $2
"""
_KNOWN: Final = """
SELECT EXISTS (
        SELECT 1 FROM org_members AS m JOIN customers AS c ON c.id = m.customer_id
        WHERE m.org_id = $1 AND lower(c.email) = lower($2)
    ) AS is_member,
    EXISTS (
        SELECT 1 FROM org_invitations WHERE org_id = $1 AND lower(email) = lower($2)
          AND status = 'INVITATION_STATUS_PENDING'
    ) AS is_invited
"""
_PENDING: Final = f"""{_COLUMNS}
WHERE org_id = $1 AND lower(email) = lower($2) AND status = 'INVITATION_STATUS_PENDING'
"""
_ADD: Final = """
INSERT INTO org_invitations
    (id, org_id, email, role, inviter_id, status, token, expire_time, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_LOCK_LINKS: Final = """
SELECT t.id FROM email_action_tokens AS t JOIN org_invitations AS i ON i.id = t.invitation_id
WHERE i.id = $1 AND i.org_id = $2 ORDER BY t.id FOR UPDATE OF t
"""
_LOCK_IN_ORG: Final = f"{_COLUMNS} WHERE id = $1 AND org_id = $2 FOR UPDATE"
_LOCK: Final = f"{_COLUMNS} WHERE id = $1 FOR UPDATE"
_SET_EXPIRY: Final = "UPDATE org_invitations SET expire_time = $2 WHERE id = $1"
_SET_STATE: Final = "UPDATE org_invitations SET status = $2 WHERE id = $1"
_DELETE: Final = "DELETE FROM org_invitations WHERE id = $1"
_SENDS: Final = "SELECT send_time FROM org_invitation_sends WHERE invitation_id = $1"
_DROP_SENDS: Final = """
DELETE FROM org_invitation_sends WHERE invitation_id = $1 AND send_time <= $2
"""
_ADD_SEND: Final = """
INSERT INTO org_invitation_sends (id, invitation_id, send_time) VALUES ($1, $2, $3)
"""
_END_LINKS: Final = """
UPDATE email_action_tokens SET consume_time = $2
WHERE invitation_id = $1 AND consume_time IS NULL
"""
_ADD_LINK: Final = """
INSERT INTO email_action_tokens
    (id, email, purpose, token_hash, invitation_id, expire_time, create_time)
VALUES ($1, $2, 'org_invite', $3, $4, $5, $6)
"""


async def list_invitations(database: Postgres, org_id: str) -> tuple[InvitationRow, ...]:
    """The invitations of an organisation in every state, newest first."""
    return tuple(map(_invitation, await database.rows(_OF_ORG, org_id, LISTED_MAX)))


async def find_known(transaction: Transaction, org_id: str, email: str) -> Known:
    """Whether an address belongs to a member or is invited, in one moment."""
    row = await transaction.row(_KNOWN, org_id, email)
    assert row is not None
    return Known(
        is_member=cast("bool", row["is_member"]), is_invited=cast("bool", row["is_invited"])
    )


async def find_pending(database: Postgres, org_id: str, email: str) -> InvitationRow | None:
    """The pending invitation of an address, expired or not."""
    row = await database.row(_PENDING, org_id, email)
    return None if row is None else _invitation(row)


async def add_invitation(transaction: Transaction, fresh: FreshInvitation, at: datetime) -> None:
    """Store an invitation; raises ConflictError when the address has a pending one."""
    row = fresh.row
    await transaction.execute(
        _ADD,
        row.id,
        row.org_id,
        row.email,
        row.role.stored,
        fresh.inviter_id,
        row.state.value,
        fresh.storage_token,
        row.expires_at,
        at,
    )


async def lock_invitation_of(
    transaction: Transaction, org_id: str, invitation_id: str
) -> InvitationRow | None:
    """An invitation of this organisation and its links, for whoever holds the organisation.

    The links come first, as they do for somebody who accepts: neither waits for the other in turn.
    """
    await transaction.rows(_LOCK_LINKS, invitation_id, org_id)
    row = await transaction.row(_LOCK_IN_ORG, invitation_id, org_id)
    return None if row is None else _invitation(row)


async def lock_invitation(transaction: Transaction, invitation_id: str) -> InvitationRow | None:
    """An invitation, for whoever holds one of its links."""
    row = await transaction.row(_LOCK, invitation_id)
    return None if row is None else _invitation(row)


async def set_expiry(transaction: Transaction, invitation_id: str, at: datetime) -> None:
    """Let an invitation end then."""
    await transaction.execute(_SET_EXPIRY, invitation_id, at)


async def set_state(transaction: Transaction, invitation_id: str, state: InvitationState) -> None:
    """Bring an invitation into this state."""
    await transaction.execute(_SET_STATE, invitation_id, state.value)


async def delete_invitation(transaction: Transaction, invitation_id: str) -> None:
    """Delete an invitation; its links and the record of its mails go with it."""
    await transaction.execute(_DELETE, invitation_id)


async def list_sends(transaction: Transaction, invitation_id: str) -> Sequence[datetime]:
    """When mails of an invitation were sent, as far as that is remembered."""
    rows = await transaction.rows(_SENDS, invitation_id)
    return [cast("datetime", row["send_time"]) for row in rows]


async def add_send(
    transaction: Transaction,
    *,
    send_id: str,
    invitation_id: str,
    at: datetime,
    forget_until: datetime,
) -> None:
    """Remember a mail of an invitation, and forget those that count no longer."""
    await transaction.execute(_DROP_SENDS, invitation_id, forget_until)
    await transaction.execute(_ADD_SEND, send_id, invitation_id, at)


async def end_links(transaction: Transaction, invitation_id: str, at: datetime) -> None:
    """Let no link of an invitation that was mailed until now open anything."""
    await transaction.execute(_END_LINKS, invitation_id, at)


async def add_link(
    transaction: Transaction, *, link_id: str, token_hash: str, row: InvitationRow, at: datetime
) -> None:
    """Store a link of an invitation, by the hash of its secret; it ends with the invitation."""
    await transaction.execute(_ADD_LINK, link_id, row.email, token_hash, row.id, row.expires_at, at)


def _invitation(row: Record) -> InvitationRow:
    return InvitationRow(
        id=str(row["id"]),
        org_id=str(row["org_id"]),
        email=str(row["email"]),
        role=Role.from_stored(str(row["role"])),
        state=InvitationState(str(row["status"])),
        expires_at=cast("datetime", row["expire_time"]),
    )
