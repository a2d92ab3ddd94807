"""Organisations' mail providers and what an invitation's letter needs [storage 1.6].

Invariant: credentials pass through here sealed only; one row an organisation, replaced as a whole.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final, cast

from msgspec import Struct

from appliance.storage.postgres.pool import Postgres, Transaction

_LOAD: Final = """
SELECT kind, from_address, reply_to, encrypted_config, update_time
FROM org_email_providers WHERE org_id = $1
"""
_SAVE: Final = """
INSERT INTO org_email_providers
    (org_id, kind, from_address, reply_to, encrypted_config, create_time, update_time)
VALUES ($1, $2, $3, $4, $5, $6, $6)
ON CONFLICT (org_id) DO UPDATE SET
    kind = excluded.kind, from_address = excluded.from_address, reply_to = excluded.reply_to,
    encrypted_config = excluded.encrypted_config, update_time = excluded.update_time
RETURNING update_time
"""
_REMOVE: Final = "DELETE FROM org_email_providers WHERE org_id = $1"
_ORG_NAME: Final = "SELECT display_name FROM orgs WHERE id = $1"
_INVITATION: Final = """
SELECT i.org_id, o.display_name AS org_name,
    coalesce(nullif(c.display_name, ''), c.email, '') AS inviter_name
FROM org_invitations AS i
JOIN orgs AS o ON o.id = i.org_id
LEFT JOIN customers AS c ON c.id = i.inviter_id
WHERE i.id = $1 AND i.status = 'INVITATION_STATUS_PENDING'
"""


class ProviderKind(StrEnum):
    """The providers an organisation may have; the value is the stored name."""

    SMTP = "ORG_EMAIL_PROVIDER_KIND_SMTP"
    RESEND = "ORG_EMAIL_PROVIDER_KIND_RESEND"


class ProviderRow(Struct, frozen=True, kw_only=True):
    """A stored provider; `kind` is text, because a newer release may know more kinds."""

    kind: str
    from_address: str
    reply_to: str
    sealed: bytes
    update_time: datetime


class InvitationFacts(Struct, frozen=True, kw_only=True):
    """What the letter of an invitation says; `inviter_name` is empty when nobody is known."""

    org_id: str
    org_name: str
    inviter_name: str


async def load_provider(database: Postgres, org_id: str) -> ProviderRow | None:
    """The provider of an organisation, None when it has none of its own."""
    row = await database.row(_LOAD, org_id)
    if row is None:
        return None
    return ProviderRow(
        kind=cast("str", row["kind"]),
        from_address=cast("str", row["from_address"]),
        reply_to=cast("str", row["reply_to"]),
        sealed=cast("bytes", row["encrypted_config"]),
        update_time=cast("datetime", row["update_time"]),
    )


async def save_provider(
    transaction: Transaction,
    org_id: str,
    *,
    kind: ProviderKind,
    from_address: str,
    reply_to: str,
    sealed: bytes,
    now: datetime,
) -> datetime:
    """Store or replace the provider of an organisation; the instant it counts from."""
    row = await transaction.row(_SAVE, org_id, kind.value, from_address, reply_to, sealed, now)
    assert row is not None
    return cast("datetime", row["update_time"])


async def remove_provider(transaction: Transaction, org_id: str) -> bool:
    """Forget the provider of an organisation; False when it had none."""
    return await transaction.execute(_REMOVE, org_id) == "DELETE 1"


async def load_org_name(database: Postgres, org_id: str) -> str:
    """The display name of an organisation, empty when it is gone."""
    row = await database.row(_ORG_NAME, org_id)
    return "" if row is None else cast("str", row["display_name"])


async def load_invitation(database: Postgres, invitation_id: str) -> InvitationFacts | None:
    """An invitation that can still be accepted; None when it was revoked or accepted."""
    row = await database.row(_INVITATION, invitation_id)
    if row is None:
        return None
    return InvitationFacts(
        org_id=cast("str", row["org_id"]),
        org_name=cast("str", row["org_name"]),
        inviter_name=cast("str", row["inviter_name"]),
    )
