"""Refresh tokens and their families in PostgreSQL [storage 1.1, services 3.3].

Invariant: only hashes are stored. Whoever rotates or ends a family first locks the family as a
whole (`lock_family`) and then reads in a statement of its own: a family that ends while one of its
tokens is rotated ends with the successor. The person is locked, too, so that disabling them waits
for a rotation under way and then ends what it made.
"""

from datetime import datetime
from typing import Final, cast

from msgspec import Struct

from appliance.storage.postgres.pool import Transaction

_FAMILY: Final = "SELECT family_id, customer_id FROM refresh_tokens WHERE token_hash = $1"
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('refresh:' || $1, 0))"
_LOCK_PERSON: Final = "SELECT id FROM customers WHERE id = $1 FOR SHARE"
_FIND: Final = """
SELECT t.id, t.customer_id, t.family_id, t.expire_time, t.consume_time, t.revoke_time,
    c.email, c.disable_time IS NOT NULL AS disabled
FROM refresh_tokens AS t JOIN customers AS c ON c.id = t.customer_id
WHERE t.token_hash = $1
"""
_ADD: Final = """
INSERT INTO refresh_tokens (id, customer_id, family_id, token_hash, expire_time, create_time)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_CONSUME: Final = "UPDATE refresh_tokens SET consume_time = $2 WHERE id = $1"
_REVOKE_FAMILY: Final = """
UPDATE refresh_tokens SET revoke_time = $2 WHERE family_id = $1 AND revoke_time IS NULL
"""
_REVOKE_ALL: Final = """
UPDATE refresh_tokens SET revoke_time = $2 WHERE customer_id = $1 AND revoke_time IS NULL
"""


class RefreshRow(Struct, frozen=True, kw_only=True):
    """A stored refresh token and the person it is of."""

    id: str
    customer_id: str
    family_id: str
    email: str
    disabled: bool
    expires_at: datetime
    consumed_at: datetime | None
    revoked_at: datetime | None


class FreshToken(Struct, frozen=True, kw_only=True):
    """A refresh token about to be stored."""

    id: str
    customer_id: str
    family_id: str
    token_hash: str
    expires_at: datetime
    created_at: datetime


async def lock_family(transaction: Transaction, token_hash: str) -> str | None:
    """Lock the family of a token and its person until the end; None for an unknown token."""
    row = await transaction.row(_FAMILY, token_hash)
    if row is None:
        return None
    family_id = cast("str", row["family_id"])
    await transaction.execute(_LOCK, family_id)
    await transaction.execute(_LOCK_PERSON, cast("str", row["customer_id"]))
    return family_id


async def find_refresh_token(transaction: Transaction, token_hash: str) -> RefreshRow | None:
    """A token by the hash of its text."""
    row = await transaction.row(_FIND, token_hash)
    if row is None:
        return None
    return RefreshRow(
        id=cast("str", row["id"]),
        customer_id=cast("str", row["customer_id"]),
        family_id=cast("str", row["family_id"]),
        email=cast("str", row["email"]),
        disabled=cast("bool", row["disabled"]),
        expires_at=cast("datetime", row["expire_time"]),
        consumed_at=cast("datetime | None", row["consume_time"]),
        revoked_at=cast("datetime | None", row["revoke_time"]),
    )


async def add_refresh_token(transaction: Transaction, token: FreshToken) -> None:
    """Store a token."""
    await transaction.execute(
        _ADD,
        token.id,
        token.customer_id,
        token.family_id,
        token.token_hash,
        token.expires_at,
        token.created_at,
    )


async def consume_refresh_token(transaction: Transaction, token_id: str, at: datetime) -> None:
    """Mark a token as used; using it again ends its family."""
    await transaction.execute(_CONSUME, token_id, at)


async def revoke_family(transaction: Transaction, family_id: str, at: datetime) -> None:
    """End every token of a locked family."""
    await transaction.execute(_REVOKE_FAMILY, family_id, at)


async def revoke_all_of(transaction: Transaction, customer_id: str, at: datetime) -> None:
    """End every session of a person."""
    await transaction.execute(_REVOKE_ALL, customer_id, at)
