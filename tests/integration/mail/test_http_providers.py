"""Resend and SES against a real HTTP server that stands for them."""

from datetime import UTC, datetime

import msgspec
import pytest

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, UnavailableError, UnmetError
from appliance.config.secrets import Secret
from appliance.domain.mail.letters import Letterhead, magic_link_letter
from appliance.domain.mail.signature import AwsIdentity, Scope, signed_headers
from appliance.services.mail.carriers import Mail
from appliance.services.mail.http_carriers import ANSWER_BYTES_MAX, ResendCarrier, SesCarrier
from appliance.services.trust import client_context
from tests.support.clocks import FixedClock
from tests.support.mail_api import MailApi, Reply, mail_api

pytestmark = pytest.mark.anyio

LINK = "https://pug.test/magic-link?token=top-secret"
MAIL = Mail(
    sender="Pug <pug@example.com>",
    reply_to="help@example.com",
    recipient="ada@example.org",
    key="dispatch-1",
    letter=magic_link_letter(Letterhead(), link=LINK),
)
IDENTITY = AwsIdentity(key_id="AKIDEXAMPLE", secret="wJalrXUtnFEMI", token="session")
SENT = Reply(body=b'{"id": "49a3", "MessageId": "0100"}')


def resend(api: MailApi) -> ResendCarrier:
    """Resend at the server's address."""
    return ResendCarrier(api.url, Secret("re_key"), client_context(None))


def ses(api: MailApi, clock: Clock | None = None) -> SesCarrier:
    """SES at the server's address."""
    return SesCarrier(api.url, "eu-west-1", IDENTITY, client_context(None), clock or FixedClock())


async def test_resend_gets_the_key_and_both_forms():
    with mail_api(SENT) as api:
        receipt = await resend(api).send(MAIL)
        (request,) = api.requests
    assert receipt.message_id == "49a3"
    assert request.path == "/emails"
    assert request.headers["authorization"] == "Bearer re_key"
    assert request.headers["idempotency-key"] == "dispatch-1"
    body = msgspec.json.decode(request.body)
    assert body == {
        "from": "Pug <pug@example.com>",
        "to": ["ada@example.org"],
        "reply_to": "help@example.com",
        "subject": MAIL.letter.subject,
        "text": MAIL.letter.text,
        "html": MAIL.letter.html,
    }


async def test_ses_is_signed_over_what_is_sent():
    """The signature is worked out anew from what arrived; the key goes nowhere [workers 4.4]."""
    clock = FixedClock(datetime(2026, 5, 10, 9, 30, tzinfo=UTC))
    with mail_api(SENT) as api:
        receipt = await ses(api, clock).send(MAIL)
        (request,) = api.requests
    assert receipt.message_id == "0100"
    assert request.path == "/v2/email/outbound-emails"
    assert b"dispatch-1" not in request.body
    assert request.headers["x-amz-security-token"] == "session"
    again = signed_headers(
        method="POST",
        url=api.url + request.path,
        headers={name: request.headers[name] for name in ("content-type", "accept")},
        body=request.body,
        identity=IDENTITY,
        scope=Scope(region="eu-west-1", service="ses"),
        now=clock.now(),
    )
    assert request.headers["authorization"] == again["authorization"]
    body = msgspec.json.decode(request.body)
    assert body["Destination"] == {"ToAddresses": ["ada@example.org"]}
    assert body["ReplyToAddresses"] == ["help@example.com"]
    assert body["Content"]["Simple"]["Body"]["Text"]["Data"] == MAIL.letter.text


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(body=b"not json"), UnmetError),
        (Reply(body=b"[]"), UnmetError),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:1/"}), UnavailableError),
        (Reply(status=502, body=b"<html>bad gateway</html>"), UnavailableError),
        (Reply(status=422, body=b'{"name": 7, "message": ["x"]}'), UnmetError),
    ],
)
async def test_strange_answers_of_resend(reply: Reply, kind: type[ApplianceError]):
    """Nothing of an answer is trusted, and no redirect is followed."""
    with mail_api(reply) as api, pytest.raises(ApplianceError) as caught:
        await resend(api).send(MAIL)
    assert type(caught.value) is kind
    assert "re_key" not in str(caught.value)
    assert len(api.requests) == 1


async def test_an_endless_answer_is_read_up_to_a_bound():
    with mail_api(Reply(body=b"x" * (ANSWER_BYTES_MAX * 20))) as api, pytest.raises(UnmetError):
        await resend(api).send(MAIL)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-amzn-ErrorType": "MessageRejected:http://internal.amazon.com/"}, b"{}"),
        ({}, b'{"__type": "com.amazonaws.sesv2#MessageRejected", "message": "no"}'),
        ({"x-amzn-ErrorType": "BadRequestException"}, b"{}"),
    ],
)
async def test_ses_names_its_errors_in_several_places(headers: dict[str, str], body: bytes):
    reply = Reply(status=400, headers=headers, body=body)
    with mail_api(reply) as api, pytest.raises(UnmetError):
        await ses(api).send(MAIL)


async def test_ses_refusing_our_credentials_may_pass():
    """Everything but the four final errors is transient [workers 4.4]."""
    reply = Reply(status=403, headers={"x-amzn-ErrorType": "InvalidSignatureException"})
    with mail_api(reply) as api, pytest.raises(UnavailableError):
        await ses(api).send(MAIL)


async def test_nobody_listens():
    with mail_api() as api:
        pass
    with pytest.raises(UnavailableError):
        await resend(api).send(MAIL)
    with pytest.raises(UnavailableError):
        await ses(api).send(MAIL)
