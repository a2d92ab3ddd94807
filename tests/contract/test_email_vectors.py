"""What each provider's answer means, by the shared vectors, against real servers.

The cases of an organisation's own provider need a database: see
`tests/integration/control/test_email_providers.py`.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from appliance.base.clock import SystemClock
from appliance.base.errors import ApplianceError
from appliance.config.people import SmtpSecurity
from appliance.config.secrets import Secret
from appliance.domain.mail.letters import Letterhead, magic_link_letter
from appliance.domain.mail.signature import AwsIdentity
from appliance.services.mail.carriers import Carrier, Mail
from appliance.services.mail.http_carriers import ResendCarrier, SesCarrier
from appliance.services.mail.smtp import SmtpCarrier, SmtpServer
from appliance.services.trust import client_context
from tests.support.mail_api import Reply, mail_api
from tests.support.smtp_server import Behaviour, smtp_server
from tests.support.vectors import Case, cases_of

pytestmark = pytest.mark.anyio

MAIL = Mail(
    sender="pug@example.com",
    reply_to="",
    recipient="ada@example.org",
    key="dispatch-1",
    letter=magic_link_letter(Letterhead(), link="https://pug.test/magic-link?token=t"),
)
REFUSING_PORT = 1


def named(status: int, name: str) -> Reply:
    return Reply(status=status, body=b'{"name": "%s", "message": "no"}' % name.encode())


def ses_error(kind: str, status: int = 400) -> Reply:
    return Reply(status=status, headers={"x-amzn-ErrorType": kind}, body=b'{"message": "no"}')


HTTP: dict[tuple[str, str], Reply | None] = {
    ("resend", "HTTP 200 with id"): Reply(body=b'{"id": "49a3"}'),
    ("resend", "HTTP 200 without id"): Reply(),
    ("resend", "HTTP 400"): named(400, "validation_error"),
    ("resend", "HTTP 401"): named(401, "missing_api_key"),
    ("resend", "HTTP 409 concurrent_idempotent_requests"): named(
        409, "concurrent_idempotent_requests"
    ),
    ("resend", "HTTP 409 invalid_idempotent_request"): named(409, "invalid_idempotent_request"),
    ("resend", "HTTP 409 with any other or no code"): Reply(status=409),
    ("resend", "HTTP 429"): named(429, "rate_limit_exceeded"),
    ("resend", "HTTP 503"): Reply(status=503),
    ("resend", "connection refused"): None,
    ("ses", "MessageRejected"): ses_error("MessageRejected"),
    ("ses", "MailFromDomainNotVerifiedException"): ses_error("MailFromDomainNotVerifiedException"),
    ("ses", "TooManyRequestsException"): ses_error("TooManyRequestsException", 429),
}
SMTP: dict[str, Behaviour | None] = {
    "550 to RCPT": Behaviour(rcpt_reply="550 5.1.1 no such person"),
    "451 to RCPT": Behaviour(rcpt_reply="451 4.7.1 greylisted"),
    "535 to AUTH": Behaviour(user="pug", password="another"),
    "connect refused": None,
    "TLS wanted, STARTTLS not offered": Behaviour(),
    "error on QUIT after DATA was accepted": Behaviour(quit="drop"),
}


async def outcome(carrier: Carrier) -> str:
    """What became of an attempt, in the vectors' words."""
    try:
        await carrier.send(MAIL)
    except ApplianceError as error:
        return "transient" if error.transient else "permanent"
    return "sent"


def http_carrier(provider: str, url: str) -> Carrier:
    trust = client_context(None)
    if provider == "resend":
        return ResendCarrier(url, Secret("re_key"), trust)
    identity = AwsIdentity(key_id="A", secret="s")
    return SesCarrier(url, "eu-west-1", identity, trust, SystemClock())


def smtp_carrier(situation: str, port: int) -> Carrier:
    server = SmtpServer(
        host="127.0.0.1",
        port=port,
        security=SmtpSecurity.STARTTLS if "STARTTLS" in situation else SmtpSecurity.NONE,
        user="pug" if "AUTH" in situation else "",
        password=Secret("wrong") if "AUTH" in situation else None,
    )
    return SmtpCarrier(server, client_context(None), SystemClock())


@pytest.mark.parametrize(
    "case",
    [one for one in cases_of("email_disposition") if one.values[0]["provider"] != "tenant"],
)
async def test_email_disposition(case: Case, tmp_path: Path):
    provider, situation = case["provider"], case["situation"]
    running: AbstractContextManager[Any]
    if provider == "smtp":
        behaviour = SMTP[situation]
        running = nullcontext() if behaviour is None else smtp_server(tmp_path, behaviour)
        with running as server:
            port = REFUSING_PORT if server is None else server.port
            assert await outcome(smtp_carrier(situation, port)) == case["outcome"]
        return
    reply = HTTP[provider, situation]
    running = nullcontext() if reply is None else mail_api(reply)
    with running as api:
        url = f"http://127.0.0.1:{REFUSING_PORT}" if api is None else api.url
        assert await outcome(http_carrier(provider, url)) == case["outcome"]
