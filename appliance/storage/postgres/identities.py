"""Who is who at sign-in providers, and sign-ins on their way there and back [storage 1.1].

Invariant: an identity is (provider, subject) and belongs to one customer for ever; a flow is taken
out of the table by the first who brings its state, right or wrong browser, in time or not.
"""

from datetime import datetime
from typing import Final, cast

from msgspec import Struct

from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Transaction


class IdentifiedCustomer(Struct, frozen=True, kw_only=True):
    """The customer behind an identity."""

    id: str
    email: str
    disabled: bool


class FlowRow(Struct, frozen=True, kw_only=True):
    """A sign-in on its way; state and browser are known by their hashes only."""

    state_hash: str
    browser_hash: str
    provider: str
    nonce: str
    verifier: str
    timezone: str
    expires_at: datetime


# The customer is locked as by `lock_by_email`: who is disabled meanwhile is not let in.
_FIND: Final = """
SELECT c.id, c.email, c.disable_time IS NOT NULL AS disabled
FROM customer_identities AS i JOIN customers AS c ON c.id = i.customer_id
WHERE i.provider = $1 AND i.subject = $2 FOR UPDATE OF c
"""
_ADD: Final = """
INSERT INTO customer_identities (id, customer_id, provider, subject) VALUES ($1, $2, $3, $4)
ON CONFLICT (provider, subject) DO NOTHING RETURNING id
"""
_PURGE_FLOWS: Final = "DELETE FROM oidc_flows WHERE expire_time <= $1"
_ADD_FLOW: Final = """
INSERT INTO oidc_flows
    (state_hash, browser_hash, provider, nonce, verifier, timezone, expire_time)
SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT count(*) FROM oidc_flows) < $8::bigint
RETURNING state_hash
"""
_TAKE_FLOW: Final = """
DELETE FROM oidc_flows WHERE state_hash = $1
RETURNING state_hash, browser_hash, provider, nonce, verifier, timezone, expire_time
"""
_OLDEST_ORG: Final = "SELECT id FROM orgs ORDER BY create_time, id LIMIT 1"


async def find_identity(
    transaction: Transaction, *, provider: str, subject: str
) -> IdentifiedCustomer | None:
    """The customer behind an identity, locked until the transaction ends."""
    row = await transaction.row(_FIND, provider, subject)
    if row is None:
        return None
    return IdentifiedCustomer(
        id=cast("str", row["id"]),
        email=cast("str", row["email"]),
        disabled=cast("bool", row["disabled"]),
    )


async def add_identity(
    transaction: Transaction, *, identity_id: str, customer_id: str, provider: str, subject: str
) -> bool:
    """Tie an identity to a customer; False when it is tied already."""
    row = await transaction.row(_ADD, identity_id, customer_id, provider, subject)
    return row is not None


async def find_oldest_org(transaction: Transaction) -> str | None:
    """The oldest organisation; None when there is none yet."""
    row = await transaction.row(_OLDEST_ORG)
    return None if row is None else cast("str", row["id"])


async def add_flow(
    transaction: Transaction, flow: FlowRow, *, now: datetime, flows_max: int
) -> bool:
    """Keep a flow and forget those that are over; False when too many are on their way."""
    await transaction.execute(_PURGE_FLOWS, now)
    row = await transaction.row(
        _ADD_FLOW,
        flow.state_hash,
        flow.browser_hash,
        flow.provider,
        flow.nonce,
        flow.verifier,
        flow.timezone,
        flow.expires_at,
        flows_max,
    )
    return row is not None


async def take_flow(transaction: Transaction, state_hash: str) -> FlowRow | None:
    """A flow by the hash of its state; nobody gets it a second time."""
    row = await transaction.row(_TAKE_FLOW, state_hash)
    return None if row is None else _flow(row)


def _flow(row: Record) -> FlowRow:
    return FlowRow(
        state_hash=cast("str", row["state_hash"]),
        browser_hash=cast("str", row["browser_hash"]),
        provider=cast("str", row["provider"]),
        nonce=cast("str", row["nonce"]),
        verifier=cast("str", row["verifier"]),
        timezone=cast("str", row["timezone"]),
        expires_at=cast("datetime", row["expire_time"]),
    )
