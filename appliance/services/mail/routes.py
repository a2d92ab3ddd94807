"""Which provider carries a mail, and in whose name [workers 4.3].

Invariant: the database is asked for every mail, so a changed provider counts at once and there is
no cache to be wrong. A row that cannot be used is a final error, never a reason to send in the
operator's name. Without any provider the product works; the errors here say how.
"""

import ssl
from typing import Final

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import UnmetError
from appliance.config.people import EmailProvider, EmailSettings, SmtpSecurity
from appliance.config.secrets import Secret
from appliance.domain.mail.signature import AwsIdentity
from appliance.services.mail.carriers import Carrier
from appliance.services.mail.http_carriers import ResendCarrier, SesCarrier
from appliance.services.mail.readiness import chosen_provider, missing_settings
from appliance.services.mail.sealing import Config, ResendConfig, Sealer, SmtpConfig, unopened
from appliance.services.mail.smtp import DEFAULT_PORTS, SmtpCarrier, SmtpServer
from appliance.services.trust import client_context
from appliance.storage.postgres.email_providers import ProviderKind, ProviderRow, load_provider
from appliance.storage.postgres.pool import Postgres

_IMPLICIT_TLS_PORT: Final = 465


class Route(Struct, frozen=True, kw_only=True):
    """A provider with the addresses that go with it; `own` when it is an organisation's."""

    carrier: Carrier
    sender: str
    reply_to: str
    own: bool


class MailRoutes:
    """The operator's provider and those of organisations."""

    def __init__(self, email: EmailSettings, database: Postgres | None, clock: Clock) -> None:
        self._email = email
        self._database = database
        self._clock = clock
        self._trust: ssl.SSLContext | None = None
        self.sealer = (
            Sealer(email.provider_secret_key) if email.provider_secret_key is not None else None
        )

    def operator(self) -> Route:
        """The operator's provider; raises UnmetError (`MAIL_NOT_CONFIGURED`)."""
        missing = missing_settings(self._email)
        if missing:
            raise UnmetError(
                "MAIL_NOT_CONFIGURED",
                f"mail is not set up: {', '.join(missing)} is missing",
                hint="set it and restart, or hand out links with `pug-appliance user magic-link`",
            )
        return Route(
            carrier=self._operator_carrier(),
            sender=self._email.sender,
            reply_to=self._email.reply_to,
            own=False,
        )

    async def of_org(self, org_id: str) -> Route:
        """The provider in effect for an organisation.

        Raises UnmetError for a row that cannot be used and UnavailableError when the database does
        not answer.
        """
        if self.sealer is None or self._database is None:
            return self.operator()
        row = await load_provider(self._database, org_id)
        if row is None:
            return self.operator()
        return Route(
            carrier=self._org_carrier(open_row(self.sealer, row)),
            sender=row.from_address,
            reply_to=row.reply_to or self._email.reply_to,
            own=True,
        )

    def check(self) -> None:
        """Open what providers need from the disk; raises MisconfiguredError."""
        self._trusted()

    def _trusted(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = client_context(self._email.ca_file)
        return self._trust

    def _operator_carrier(self) -> Carrier:
        email = self._email
        match chosen_provider(email):
            case EmailProvider.SMTP:
                server = SmtpServer(
                    host=email.smtp.host,
                    port=email.smtp.port or DEFAULT_PORTS[email.smtp.security],
                    security=email.smtp.security,
                    user=email.smtp.user,
                    password=email.smtp.password,
                    greeting_name=email.smtp.greeting_name,
                )
                return SmtpCarrier(server, self._trusted(), self._clock)
            case EmailProvider.RESEND:
                assert email.resend_api_key is not None
                return ResendCarrier(email.resend_url, email.resend_api_key, self._trusted())
            case _:
                assert email.ses_secret_access_key is not None
                token = email.ses_session_token
                identity = AwsIdentity(
                    key_id=email.ses_access_key_id,
                    secret=email.ses_secret_access_key.reveal(),
                    token=token.reveal() if token is not None else "",
                )
                return SesCarrier(
                    email.ses_url, email.ses_region, identity, self._trusted(), self._clock
                )

    def _org_carrier(self, config: Config) -> Carrier:
        if isinstance(config, ResendConfig):
            return ResendCarrier(self._email.resend_url, Secret(config.api_key), self._trusted())
        server = SmtpServer(
            host=config.host,
            port=config.port,
            security=_security(config),
            user=config.username,
            password=Secret(config.password) if config.password else None,
            greeting_name=self._email.smtp.greeting_name,
        )
        return SmtpCarrier(server, self._trusted(), self._clock)


def open_row(sealer: Sealer, row: ProviderRow) -> Config:
    """The credentials of a stored provider; raises UnmetError when they are unusable."""
    match row.kind:
        case ProviderKind.SMTP:
            return sealer.open_smtp(row.sealed)
        case ProviderKind.RESEND:
            return sealer.open_resend(row.sealed)
        case _:
            raise unopened()


def _security(config: SmtpConfig) -> SmtpSecurity:
    """STARTTLS when TLS is wanted, but on 465, where servers expect TLS from the first byte."""
    if not config.use_tls:
        return SmtpSecurity.NONE
    return SmtpSecurity.TLS if config.port == _IMPLICIT_TLS_PORT else SmtpSecurity.STARTTLS
