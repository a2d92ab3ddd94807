"""Mailed links in PostgreSQL: one row each, found by the hash of the secret [storage 1.1].

Invariant: a link is used once; making a sign-in link ends earlier ones of the address, and never
touches links of another purpose.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final, cast

from msgspec import Struct

from appliance.storage.postgres.pool import Transaction


class Purpose(StrEnum):
    """What a link is for."""

    MAGIC_LINK = "magic_link"
    ORG_INVITE = "org_invite"


class LinkRow(Struct, frozen=True, kw_only=True):
    """A stored link."""

    id: str
    email: str
    purpose: Purpose
    invitation_id: str | None
    expires_at: datetime
    consumed_at: datetime | None


_ONE_AT_A_TIME: Final = """
SELECT pg_advisory_xact_lock(hashtextextended('magic-link:' || lower($1), 0))
"""
_SUPERSEDE: Final = """
UPDATE email_action_tokens SET consume_time = $2
WHERE lower(email) = lower($1) AND purpose = 'magic_link' AND consume_time IS NULL
"""
_ADD: Final = """
INSERT INTO email_action_tokens
    (id, email, purpose, token_hash, customer_id, expire_time, create_time)
VALUES (
    $1, $2::text, 'magic_link', $3,
    (SELECT id FROM customers WHERE lower(email) = lower($2::text)), $4, $5
)
"""
_LOCK: Final = """
SELECT id, email, purpose, invitation_id, expire_time, consume_time
FROM email_action_tokens WHERE token_hash = $1 FOR UPDATE
"""
_CONSUME: Final = "UPDATE email_action_tokens SET consume_time = $2 WHERE id = $1"


async def replace_magic_link(
    transaction: Transaction,
    *,
    link_id: str,
    email: str,
    token_hash: str,
    expires_at: datetime,
    at: datetime,
) -> None:
    """Store a sign-in link of an address and end the ones before."""
    await transaction.execute(_ONE_AT_A_TIME, email)
    await transaction.execute(_SUPERSEDE, email, at)
    await transaction.execute(_ADD, link_id, email, token_hash, expires_at, at)


async def lock_link(transaction: Transaction, token_hash: str) -> LinkRow | None:
    """A link by the hash of its secret, locked until the transaction ends."""
    row = await transaction.row(_LOCK, token_hash)
    if row is None:
        return None
    return LinkRow(
        id=cast("str", row["id"]),
        email=cast("str", row["email"]),
        purpose=Purpose(cast("str", row["purpose"])),
        invitation_id=cast("str | None", row["invitation_id"]),
        expires_at=cast("datetime", row["expire_time"]),
        consumed_at=cast("datetime | None", row["consume_time"]),
    )


async def consume_link(transaction: Transaction, link_id: str, at: datetime) -> None:
    """Mark a link as used."""
    await transaction.execute(_CONSUME, link_id, at)
