"""Signing in by a mailed link [services 3.6, 5].

Invariant: whether an address is known shows nowhere: not in an answer, not in what is counted, not
in the time taken, because only after the answer is it asked who may be mailed. A link is used once,
lives fifteen minutes and ends when a newer one of its address is made.
"""

from datetime import timedelta
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.base.ids import IdMaker, random_token
from appliance.base.tasks import Background
from appliance.config.secrets import Secret
from appliance.domain.access.callers import Actor, ActorKind
from appliance.services.invitations import InvitationsService
from appliance.services.mail.jobs import MailQueue
from appliance.services.provisioning import Newcomer, Provisioning
from appliance.services.sessions import (
    TOKEN_CHARACTERS_MAX,
    Session,
    SessionsService,
    hash_token,
)
from appliance.services.sign_in_guard import SignInGuard
from appliance.storage.postgres.customers import find_by_email
from appliance.storage.postgres.email_tokens import (
    LinkRow,
    consume_link,
    lock_link,
    replace_magic_link,
)
from appliance.storage.postgres.pool import Postgres, Transaction

LIFETIME: Final = timedelta(minutes=15)
TOKEN_BYTES: Final = 32
MAILINGS_MAX: Final = 100
CLOSE_SECONDS_MAX: Final = 5.0

_LOG: Final = structlog.stdlib.get_logger()


class IssuedLink(Struct, frozen=True, kw_only=True):
    """A fresh sign-in link; the secret is stored nowhere."""

    id: str
    token: Secret


class MagicLinksService:
    """Makes and redeems sign-in links; redeems invitations, too."""

    def __init__(
        self,
        database: Postgres,
        *,
        mail: MailQueue,
        guard: SignInGuard,
        sessions: SessionsService,
        invitations: InvitationsService,
        provisioning: Provisioning,
        clock: Clock,
        ids: IdMaker,
    ) -> None:
        self._database = database
        self._mail = mail
        self._guard = guard
        self._sessions = sessions
        self._invitations = invitations
        self._provisioning = provisioning
        self._clock = clock
        self._ids = ids
        self._mailings = Background(tasks_max=MAILINGS_MAX)

    async def request(self, email: str, address: str) -> None:
        """Have a link mailed soon, to whom it may concern.

        Raises ExhaustedError when too many were asked for, known address or not.
        """
        await self._guard.admit_link(email, address)
        link = await self.issue(email)
        if not self._mailings.start(lambda: self._mail_link(email, link)):
            _LOG.warning("mail_not_queued", dispatch_id=link.id, reason="RESOURCE_EXHAUSTED")

    async def issue(self, email: str) -> IssuedLink:
        """Make a link without mailing it; earlier ones of the address end."""
        link = IssuedLink(id=self._ids.make(), token=Secret(random_token(TOKEN_BYTES)))
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            await replace_magic_link(
                transaction,
                link_id=link.id,
                email=email,
                token_hash=hash_token(link.token.reveal()),
                expires_at=now + LIFETIME,
                at=now,
            )
        return link

    async def complete(self, token: str, *, timezone: str, address: str) -> Session:
        """Redeem a sign-in or invitation link; raises InvalidInputError (`INVALID_TOKEN`)."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise _invalid()
        async with self._database.transaction() as transaction:
            link = await lock_link(transaction, hash_token(token))
            now = self._clock.now()
            if link is None or link.consumed_at is not None or link.expires_at <= now:
                raise _invalid()
            await consume_link(transaction, link.id, now)
            return await self._let_in(transaction, link, timezone=timezone, address=address)

    async def _let_in(
        self, transaction: Transaction, link: LinkRow, *, timezone: str, address: str
    ) -> Session:
        newcomer = Newcomer(email=link.email, how=link.purpose.value, address=address)
        customer = await self._provisioning.welcome(
            transaction, newcomer, invited=link.invitation_id is not None, timezone=timezone
        )
        if customer is None:
            raise _invalid()
        if link.invitation_id is not None:
            actor = Actor(
                kind=ActorKind.CUSTOMER, id=customer.id, label=customer.email, address=address
            )
            await self._invitations.accept(
                transaction, actor, invitation_id=link.invitation_id, customer_id=customer.id
            )
        return await self._sessions.open(
            transaction,
            customer_id=customer.id,
            email=customer.email,
            address=address,
            how=link.purpose.value,
        )

    async def close(self) -> None:
        """Wait for mails that are on their way to the queue."""
        await self._mailings.close(timeout_seconds=CLOSE_SECONDS_MAX)

    async def _mail_link(self, email: str, link: IssuedLink) -> None:
        try:
            if self._provisioning.open_sign_up or await self._is_welcome(email):
                await self._mail.magic_link(email, link.token.reveal(), link.id)
        except ApplianceError as error:
            _LOG.warning("mail_not_queued", dispatch_id=link.id, reason=error.reason)

    async def _is_welcome(self, email: str) -> bool:
        found = await find_by_email(self._database, email)
        return found is not None and not found.disabled


def _invalid() -> InvalidInputError:
    return InvalidInputError(
        "INVALID_TOKEN", "this link does not hold any more; ask for another one"
    )
