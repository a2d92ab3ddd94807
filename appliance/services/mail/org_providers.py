"""An organisation's own mail provider: show, set, remove, try [services 6.5].

Invariant: credentials are stored sealed and shown redacted; setting needs all of them, so nothing
has to be opened for it. A provider that refuses the test is an answer, not an error.
"""

from datetime import datetime
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import (
    ApplianceError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    Resource,
    UnmetError,
)
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import Actor
from appliance.domain.mail.names import parse_address
from appliance.services.audit import AuditLog
from appliance.services.mail.delivery import MailDelivery
from appliance.services.mail.routes import MailRoutes, open_row
from appliance.services.mail.sealing import Config, Sealer, SmtpConfig, redact
from appliance.storage.postgres.email_providers import (
    ProviderKind,
    load_provider,
    remove_provider,
    save_provider,
)
from appliance.storage.postgres.pool import Postgres

ADDRESS_CHARACTERS_MAX: Final = 255
_SUBJECT_KIND: Final = "email_provider"

_LOG: Final = structlog.stdlib.get_logger()


class ShownProvider(Struct, frozen=True, kw_only=True):
    """A provider as administrators may see it."""

    kind: ProviderKind
    from_address: str
    reply_to: str
    redacted_secret: str
    update_time: datetime


class TestOutcome(Struct, frozen=True, kw_only=True):
    """What became of a test mail; `problem` is empty when it was taken."""

    problem: str


class OrgEmailProviders:
    """Use-cases about organisations' mail providers; callers are checked before."""

    def __init__(
        self,
        database: Postgres,
        routes: MailRoutes,
        delivery: MailDelivery,
        audit: AuditLog,
        *,
        clock: Clock,
        ids: IdMaker,
    ) -> None:
        self._database = database
        self._routes = routes
        self._delivery = delivery
        self._audit = audit
        self._clock = clock
        self._ids = ids

    async def load(self, org_id: str) -> ShownProvider:
        """The provider, its secret redacted.

        Raises NotFoundError (`EMAIL_PROVIDER_NOT_FOUND`) and UnmetError
        (`EMAIL_PROVIDER_ENCRYPTION_KEY_MISSING`, `EMAIL_PROVIDER_SECRET_DECRYPT_FAILED`).
        """
        row = await load_provider(self._database, org_id)
        if row is None:
            raise NotFoundError(
                "EMAIL_PROVIDER_NOT_FOUND",
                "the organisation has no mail provider of its own",
                resource=Resource(kind="email_provider", name=org_id),
            )
        config = open_row(self._sealer(), row)
        return ShownProvider(
            kind=ProviderKind(row.kind),
            from_address=row.from_address,
            reply_to=row.reply_to,
            redacted_secret=redact(config),
            update_time=row.update_time,
        )

    async def save(
        self, org_id: str, config: Config, *, from_address: str, reply_to: str, actor: Actor
    ) -> datetime:
        """Create or replace the provider; the instant it counts from.

        Raises UnmetError (`EMAIL_PROVIDER_ENCRYPTION_KEY_MISSING`) and InvalidInputError
        (`INVALID_EMAIL_PROVIDER_CONFIG`).
        """
        sealer = self._sealer()
        _check(config, from_address, reply_to)
        kind = ProviderKind.SMTP if isinstance(config, SmtpConfig) else ProviderKind.RESEND
        async with self._database.transaction() as transaction:
            update_time = await save_provider(
                transaction,
                org_id,
                kind=kind,
                from_address=from_address,
                reply_to=reply_to,
                sealed=sealer.seal(config),
                now=self._clock.now(),
            )
            await self._audit.record(
                transaction,
                actor,
                "org.email_provider.set",
                org_id=org_id,
                subject_kind=_SUBJECT_KIND,
                subject_id=org_id,
                details={"kind": kind.name.lower(), "from_address": from_address},
            )
        return update_time

    async def remove(self, org_id: str, actor: Actor) -> None:
        """Go back to the operator's provider; may be repeated, and needs no key."""
        async with self._database.transaction() as transaction:
            if await remove_provider(transaction, org_id):
                await self._audit.record(
                    transaction,
                    actor,
                    "org.email_provider.remove",
                    org_id=org_id,
                    subject_kind=_SUBJECT_KIND,
                    subject_id=org_id,
                )

    async def send_test(self, org_id: str, recipient: str, *, own_address: str) -> TestOutcome:
        """Send the caller a mail by the provider in effect.

        Raises UnmetError (`EMAIL_TEST_SEND_UNAVAILABLE`) without an encryption key, ForbiddenError
        (`EMAIL_TEST_RECIPIENT_MISMATCH`) for another's address, and what the database raises.
        """
        if self._routes.sealer is None:
            raise UnmetError(
                "EMAIL_TEST_SEND_UNAVAILABLE",
                "mail providers of organisations are switched off on this installation",
                hint="set email.provider_secret_key",
            )
        if recipient.strip().casefold() != own_address.strip().casefold():
            raise ForbiddenError(
                "EMAIL_TEST_RECIPIENT_MISMATCH", "a test mail can be sent to your own address only"
            )
        key = f"test-{self._ids.make()}"
        try:
            receipt = await self._delivery.send_test(recipient, key, org_id=org_id)
        except ApplianceError as error:
            if error.reason not in _ANSWERS:
                raise
            _LOG.info("mail_test_failed", org_id=org_id, reason=error.reason)
            return TestOutcome(problem=error.message)
        _LOG.info("mail_test_sent", org_id=org_id, provider=receipt.provider)
        return TestOutcome(problem="")

    def _sealer(self) -> Sealer:
        if self._routes.sealer is None:
            raise UnmetError(
                "EMAIL_PROVIDER_ENCRYPTION_KEY_MISSING",
                "mail providers of organisations are switched off on this installation",
                hint="set email.provider_secret_key",
            )
        return self._routes.sealer


_ANSWERS: Final = frozenset(
    {
        "MAIL_REFUSED",
        "MAIL_PROVIDER_UNAVAILABLE",
        "MAIL_NOT_CONFIGURED",
        "EMAIL_PROVIDER_SECRET_DECRYPT_FAILED",
    }
)
"""What is told as the outcome of a test; anything else is a failure of ours."""


def _check(config: Config, from_address: str, reply_to: str) -> None:
    """What the schema does not see; raises InvalidInputError."""
    problem = ""
    if max(len(from_address), len(reply_to)) > ADDRESS_CHARACTERS_MAX:
        problem = f"an address has at most {ADDRESS_CHARACTERS_MAX} characters"
    elif parse_address(from_address) is None:
        problem = "the sender is not an address"
    elif isinstance(config, SmtpConfig):
        if not config.host.strip() or any(one.isspace() or one == "/" for one in config.host):
            problem = "the host is a name or an address, without port and path"
    elif not config.api_key.isascii() or any(one.isspace() for one in config.api_key):
        problem = "the API key holds characters that no key has"
    if problem:
        raise InvalidInputError("INVALID_EMAIL_PROVIDER_CONFIG", problem)
