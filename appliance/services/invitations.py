"""Invitations: send, send again, take back, accept [services 3.7, 6.2].

Invariant: a link is mailed after its row is committed, and at most one link of an invitation is
alive; a mail that cannot be queued fails nobody's request [workers 4.1]. Accepting happens in the
transaction that consumes the link, so two who open it at once make one member.
"""

import hashlib
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    Resource,
    UnmetError,
    Violation,
)
from appliance.base.ids import IdMaker, random_token
from appliance.config.secrets import Secret
from appliance.domain.access.callers import Actor, ActorKind
from appliance.domain.access.invitations import (
    ADDRESS_CHARACTERS_MAX,
    LIFETIME,
    SENDS_MAX,
    SENDS_WINDOW,
    TOKEN_BYTES,
    InvitationState,
    is_address,
    may_accept,
    may_send,
)
from appliance.domain.access.roles import Role
from appliance.services.audit import AuditLog
from appliance.services.organisations import require_admin
from appliance.storage.postgres.invitations import (
    FreshInvitation,
    InvitationRow,
    add_invitation,
    add_link,
    add_send,
    delete_invitation,
    end_links,
    find_known,
    find_pending,
    list_invitations,
    list_sends,
    lock_invitation,
    lock_invitation_of,
    set_expiry,
    set_state,
)
from appliance.storage.postgres.orgs import join_org, lock_org
from appliance.storage.postgres.pool import Postgres, Transaction


class InviteMail(Protocol):
    """Hands an invitation over to whoever mails it."""

    async def invite(self, email: str, invitation_id: str, token: str, dispatch_id: str, /) -> bool:
        """Have an invitation mailed; False when it will not be. Never raises."""
        ...


class SentInvitation(Struct, frozen=True, kw_only=True):
    """An invitation with a fresh link; the token is nowhere else but in the mail.

    `mailed` says whether a mail is on its way; without one the link must be handed over.
    """

    row: InvitationRow
    token: Secret
    mailed: bool


class _Link(Struct, frozen=True, kw_only=True):
    row: InvitationRow
    token: Secret
    id: str


class InvitationsService:
    """Use-cases about invitations."""

    def __init__(
        self, database: Postgres, mail: InviteMail, *, clock: Clock, ids: IdMaker, audit: AuditLog
    ) -> None:
        self._database = database
        self._mail = mail
        self._clock = clock
        self._ids = ids
        self._audit = audit

    async def list_invitations(self, org_id: str) -> tuple[InvitationRow, ...]:
        """The invitations of an organisation in every state, newest first."""
        return await list_invitations(self._database, org_id)

    async def load_pending(self, org_id: str, email: str) -> InvitationRow:
        """The pending invitation of an address; raises NotFoundError (`INVITATION_NOT_FOUND`)."""
        row = await find_pending(self._database, org_id, email)
        if row is None:
            raise _not_found(email)
        return row

    async def invite(self, actor: Actor, org_id: str, email: str, role: Role) -> SentInvitation:
        """Invite an address for seven days.

        Raises ConflictError (`ORG_MEMBER_ALREADY_EXISTS`, `INVITATION_ALREADY_PENDING`),
        InvalidInputError for an address that is too long, ForbiddenError when the actor has lost
        the right meanwhile.
        """
        _check_address(email)
        now = self._clock.now()
        row = InvitationRow(
            id=self._ids.make(),
            org_id=org_id,
            email=email,
            role=role,
            state=InvitationState.PENDING,
            expires_at=now + LIFETIME,
        )
        async with self._database.transaction() as transaction:
            await lock_org(transaction, org_id)
            await require_admin(transaction, actor, org_id)
            await _require_unknown(transaction, org_id, email)
            fresh = FreshInvitation(
                row=row,
                inviter_id=actor.id if actor.kind is ActorKind.CUSTOMER else None,
                storage_token=random_token(TOKEN_BYTES),
            )
            try:
                await add_invitation(transaction, fresh, now)
            except ConflictError as error:
                raise _already_pending() from error
            link = await self._issue_link(transaction, row, now)
            await self._record(transaction, actor, "org.invitation.create", row)
        return await self._send(link)

    async def resend(self, actor: Actor, org_id: str, invitation_id: str) -> SentInvitation:
        """Send a pending invitation with a new link for seven more days; older links end.

        Raises NotFoundError (`INVITATION_NOT_FOUND`), UnmetError (`INVITATION_NOT_PENDING`,
        `INVITATION_SEND_LIMIT`), ForbiddenError when the actor has lost the right meanwhile.
        """
        async with self._database.transaction() as transaction:
            before = await self._lock_pending(transaction, actor, org_id, invitation_id)
            now = self._clock.now()
            if not may_send(await list_sends(transaction, invitation_id), now):
                raise _send_limit()
            row = InvitationRow(
                id=before.id,
                org_id=before.org_id,
                email=before.email,
                role=before.role,
                state=before.state,
                expires_at=now + LIFETIME,
            )
            await set_expiry(transaction, row.id, row.expires_at)
            await end_links(transaction, row.id, now)
            link = await self._issue_link(transaction, row, now)
            await self._record(transaction, actor, "org.invitation.resend", row)
        return await self._send(link)

    async def revoke(self, actor: Actor, org_id: str, invitation_id: str) -> None:
        """Take a pending invitation back: it and its links are gone.

        Raises NotFoundError (`INVITATION_NOT_FOUND`), UnmetError (`INVITATION_NOT_PENDING`),
        ForbiddenError when the actor has lost the right meanwhile.
        """
        async with self._database.transaction() as transaction:
            row = await self._lock_pending(transaction, actor, org_id, invitation_id)
            await delete_invitation(transaction, row.id)
            await self._record(transaction, actor, "org.invitation.revoke", row)

    async def accept(
        self, transaction: Transaction, actor: Actor, *, invitation_id: str, customer_id: str
    ) -> InvitationRow:
        """Make a customer a member with the invited role; a member stays what they are.

        The caller holds the link's row in `transaction` and consumes it there. Raises
        InvalidInputError (`INVALID_TOKEN`) when the invitation is gone, accepted or expired.
        """
        row = await lock_invitation(transaction, invitation_id)
        now = self._clock.now()
        if row is None or not may_accept(row.state, row.expires_at, now):
            raise InvalidInputError("INVALID_TOKEN", "this link does not hold any more")
        joined = await join_org(
            transaction, org_id=row.org_id, customer_id=customer_id, role=row.role, at=now
        )
        await set_state(transaction, row.id, InvitationState.ACCEPTED)
        await end_links(transaction, row.id, now)
        await self._record(
            transaction,
            actor,
            "org.invitation.accept",
            row,
            {"customer_id": customer_id, "joined": "yes" if joined else "was a member already"},
        )
        return row

    async def _lock_pending(
        self, transaction: Transaction, actor: Actor, org_id: str, invitation_id: str
    ) -> InvitationRow:
        await lock_org(transaction, org_id)
        await require_admin(transaction, actor, org_id)
        row = await lock_invitation_of(transaction, org_id, invitation_id)
        if row is None:
            raise _not_found(invitation_id)
        if row.state is not InvitationState.PENDING:
            raise UnmetError("INVITATION_NOT_PENDING", "this invitation has been accepted")
        return row

    async def _issue_link(
        self, transaction: Transaction, row: InvitationRow, now: datetime
    ) -> _Link:
        link = _Link(row=row, token=Secret(random_token(TOKEN_BYTES)), id=self._ids.make())
        await add_link(
            transaction,
            link_id=link.id,
            token_hash=hashlib.sha256(link.token.reveal().encode()).hexdigest(),
            row=row,
            at=now,
        )
        await add_send(
            transaction,
            send_id=self._ids.make(),
            invitation_id=row.id,
            at=now,
            forget_until=now - SENDS_WINDOW,
        )
        return link

    async def _send(self, link: _Link) -> SentInvitation:
        mailed = await self._mail.invite(link.row.email, link.row.id, link.token.reveal(), link.id)
        return SentInvitation(row=link.row, token=link.token, mailed=mailed)

    async def _record(
        self,
        transaction: Transaction,
        actor: Actor,
        action: str,
        row: InvitationRow,
        details: dict[str, str] | None = None,
    ) -> None:
        await self._audit.record(
            transaction,
            actor,
            action,
            org_id=row.org_id,
            subject_kind="invitation",
            subject_id=row.id,
            details={"email": row.email, "role": row.role.value} | (details or {}),
        )


async def _require_unknown(transaction: Transaction, org_id: str, email: str) -> None:
    known = await find_known(transaction, org_id, email)
    if known.is_member:
        raise ConflictError("ORG_MEMBER_ALREADY_EXISTS", "this address belongs to a member already")
    if known.is_invited:
        raise _already_pending()


def _already_pending() -> ConflictError:
    return ConflictError(
        "INVITATION_ALREADY_PENDING",
        "this address is invited already",
        hint="send the invitation again: `pug-appliance org invite --again`",
    )


def _send_limit() -> UnmetError:
    return UnmetError(
        "INVITATION_SEND_LIMIT",
        f"an invitation is sent at most {SENDS_MAX} times in 24 hours",
        hint="try again tomorrow",
    )


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(
        "INVITATION_NOT_FOUND",
        "there is no such invitation in this organisation",
        resource=Resource(kind="invitation", name=name),
    )


def _check_address(email: str) -> None:
    if is_address(email):
        return
    sentence = f"an e-mail address of at most {ADDRESS_CHARACTERS_MAX} characters"
    raise InvalidInputError(
        "INVALID_ARGUMENT",
        f"email: {sentence}",
        violations=(Violation(field="email", description=sentence),),
    )
