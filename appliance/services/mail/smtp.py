"""Mail by SMTP: in clear, by STARTTLS, or by TLS from the first byte.

Invariant: what was asked to be encrypted is never sent in clear; a mail whose DATA was accepted is
sent, whatever happens at QUIT; a server that never greets costs one deadline and no more
[workers 4.4].
"""

import asyncio
import socket
import ssl
from contextlib import suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from typing import Final

import aiosmtplib
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError
from appliance.config.people import SmtpSecurity
from appliance.config.secrets import Secret
from appliance.domain.mail.names import clean_header, parse_address
from appliance.domain.mail.outcomes import Outcome, smtp_outcome
from appliance.services.mail.carriers import (
    SEND_SECONDS_MAX,
    Mail,
    Receipt,
    refused,
    unavailable,
)

QUIT_SECONDS_MAX: Final = 2.0
KEY_HEADER: Final = "X-Idempotency-Key"
DEFAULT_PORTS: Final = {
    SmtpSecurity.NONE: 25,
    SmtpSecurity.STARTTLS: 587,
    SmtpSecurity.TLS: 465,
}


class SmtpServer(Struct, frozen=True, kw_only=True):
    """Where and how to hand mail over; without a user there is no sign-in."""

    host: str
    port: int
    security: SmtpSecurity
    user: str = ""
    password: Secret | None = None
    greeting_name: str = ""


class SmtpCarrier:
    """One mail server; a connection for each mail."""

    def __init__(
        self,
        server: SmtpServer,
        trust: ssl.SSLContext,
        clock: Clock,
        *,
        seconds_max: float = SEND_SECONDS_MAX,
    ) -> None:
        self._server = server
        self._trust = trust
        self._clock = clock
        self._seconds_max = seconds_max

    @property
    def name(self) -> str:
        return f"smtp {self._server.host}:{self._server.port}"

    async def send(self, mail: Mail, /) -> Receipt:
        """Hand a mail over; raises UnmetError or UnavailableError."""
        try:
            remark = await self._converse(compose(mail, self._clock), mail)
        except TimeoutError as error:
            raise unavailable(self.name, "no answer in time") from error
        except aiosmtplib.SMTPNotSupported as error:
            raise refused(self.name, str(error)) from error
        except aiosmtplib.SMTPRecipientsRefused as error:
            first = error.recipients[0]
            raise self._judged(first.code, first.message) from error
        except aiosmtplib.SMTPConnectResponseError as error:
            raise unavailable(self.name, f"{error.code} {error.message}") from error
        except aiosmtplib.SMTPResponseException as error:
            raise self._judged(error.code, error.message) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise unavailable(self.name, _cause(error)) from error
        except ValueError as error:
            raise refused(self.name, f"an address cannot be sent to: {error}") from error
        return Receipt(provider=self.name, message_id=remark)

    async def _converse(self, message: EmailMessage, mail: Mail) -> str:
        client = aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            use_tls=self._server.security is SmtpSecurity.TLS,
            start_tls=False,
            tls_context=self._trust,
            local_hostname=self._server.greeting_name or _machine_name(),
            timeout=self._seconds_max,
        )
        try:
            async with asyncio.timeout(self._seconds_max):
                await client.connect()
                await self._protect(client)
                await self._sign_in(client)
                _, remark = await client.send_message(
                    message, sender=_bare(mail.sender), recipients=[_bare(mail.recipient)]
                )
            # The mail is the server's now: a failing goodbye must not send it again.
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await client.quit(timeout=QUIT_SECONDS_MAX)
        finally:
            client.close()
        return remark

    async def _protect(self, client: aiosmtplib.SMTP) -> None:
        if self._server.security is not SmtpSecurity.STARTTLS:
            return
        await client.ehlo()
        if not client.supports_extension("starttls"):
            raise refused(self.name, "encryption is wanted, and the server offers no STARTTLS")
        await client.starttls()

    async def _sign_in(self, client: aiosmtplib.SMTP) -> None:
        """PLAIN where the line is encrypted; else the best the server offers."""
        server = self._server
        if not server.user:
            return
        if client.is_ehlo_or_helo_needed:
            await client.ehlo()
        if not client.supported_auth_methods:
            raise refused(self.name, "a user is configured, and the server offers no sign-in")
        password = server.password.reveal() if server.password else ""
        encrypted = server.security is not SmtpSecurity.NONE
        if encrypted and "plain" in client.supported_auth_methods:
            await client.auth_plain(server.user, password)
        else:
            await client.login(server.user, password)

    def _judged(self, code: int, remark: str) -> ApplianceError:
        told = f"{code} {remark}"
        if smtp_outcome(code) is Outcome.PERMANENT:
            return refused(self.name, told)
        return unavailable(self.name, told)


def compose(mail: Mail, clock: Clock) -> EmailMessage:
    """The message: text first, HTML second, every header on one line [workers 4.4]."""
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"] = _address(mail.sender)
    message["To"] = _address(mail.recipient)
    if mail.reply_to:
        message["Reply-To"] = _address(mail.reply_to)
    message["Subject"] = clean_header(mail.letter.subject)
    message["Date"] = format_datetime(clock.now())
    # Made of the key, so that a mail sent twice after a lost answer can be told to be one.
    message["Message-ID"] = f"<{clean_header(mail.key)}@{_bare(mail.sender).partition('@')[2]}>"
    message[KEY_HEADER] = clean_header(mail.key)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.letter.text)
    message.add_alternative(mail.letter.html, subtype="html")
    return message


def _address(text: str) -> Address:
    parsed = parse_address(text)
    if parsed is None:
        raise ValueError(f"{text!r} is not an address")
    return parsed


def _bare(text: str) -> str:
    return _address(text).addr_spec


def _machine_name() -> str:
    name = socket.gethostname()
    plain = name.isascii() and all(one.isalnum() or one in "-." for one in name)
    return name if name and plain else "localhost"


def _cause(error: BaseException) -> str:
    """What happened, of a chain of errors the most telling one."""
    for one in (error, error.__cause__):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({one.verify_message})"
    return str(error) or type(error).__name__
