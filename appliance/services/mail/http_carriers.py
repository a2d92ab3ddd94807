"""Mail by HTTP: Resend and Amazon SES v2.

Invariant: one request a mail, to the configured address only, no redirects, no proxy of the
environment; an answer is read up to a bound and judged by `domain/mail/outcomes.py`.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, cast

import httpx
import msgspec
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.config.secrets import Secret
from appliance.domain.mail.names import clean_header
from appliance.domain.mail.outcomes import Outcome, resend_outcome, ses_outcome
from appliance.domain.mail.signature import AwsIdentity, Scope, signed_headers
from appliance.services.mail.carriers import (
    SEND_SECONDS_MAX,
    Mail,
    Receipt,
    refused,
    unavailable,
)

ANSWER_BYTES_MAX: Final = 64 << 10
SES_PATH: Final = "/v2/email/outbound-emails"
_JSON: Final = {"content-type": "application/json", "accept": "application/json"}


class Answer(Struct, frozen=True, kw_only=True):
    """What an HTTP provider said."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, object]

    def text(self, *names: str) -> str:
        """The first of these members that is a text, or nothing."""
        found = (self.body.get(name) for name in names)
        return next((one for one in found if isinstance(one, str)), "")


class ResendCarrier:
    """Resend's API."""

    def __init__(self, url: str, api_key: Secret, trust: ssl.SSLContext) -> None:
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._trust = trust

    @property
    def name(self) -> str:
        return "resend"

    async def send(self, mail: Mail, /) -> Receipt:
        """Hand a mail over; raises UnmetError or UnavailableError."""
        reply_to = {"reply_to": clean_header(mail.reply_to)} if mail.reply_to else {}
        body = {
            "from": clean_header(mail.sender),
            "to": [clean_header(mail.recipient)],
            "subject": clean_header(mail.letter.subject),
            "text": mail.letter.text,
            "html": mail.letter.html,
            **reply_to,
        }
        headers = {
            **_JSON,
            "authorization": f"Bearer {self._api_key.reveal()}",
            "idempotency-key": clean_header(mail.key),
        }
        answer = await _post(
            self.name, f"{self._url}/emails", headers, msgspec.json.encode(body), self._trust
        )
        message_id = answer.text("id")
        outcome = resend_outcome(
            status=answer.status,
            error_code=answer.text("name", "code"),
            message_id=message_id,
        )
        return _settled(self.name, outcome, answer, message_id)


class SesCarrier:
    """Amazon SES v2; it knows no idempotency key."""

    def __init__(
        self, url: str, region: str, identity: AwsIdentity, trust: ssl.SSLContext, clock: Clock
    ) -> None:
        self._url = (url or f"https://email.{region}.amazonaws.com").rstrip("/")
        self._scope = Scope(region=region, service="ses")
        self._identity = identity
        self._trust = trust
        self._clock = clock

    @property
    def name(self) -> str:
        return f"ses {self._scope.region}"

    async def send(self, mail: Mail, /) -> Receipt:
        """Hand a mail over; raises UnmetError or UnavailableError."""
        reply_to = [clean_header(mail.reply_to)] if mail.reply_to else []
        body = msgspec.json.encode(
            {
                "FromEmailAddress": clean_header(mail.sender),
                "Destination": {"ToAddresses": [clean_header(mail.recipient)]},
                "ReplyToAddresses": reply_to,
                "Content": {
                    "Simple": {
                        "Subject": _utf8(clean_header(mail.letter.subject)),
                        "Body": {"Text": _utf8(mail.letter.text), "Html": _utf8(mail.letter.html)},
                    }
                },
            }
        )
        url = self._url + SES_PATH
        headers = signed_headers(
            method="POST",
            url=url,
            headers=_JSON,
            body=body,
            identity=self._identity,
            scope=self._scope,
            now=self._clock.now(),
        )
        answer = await _post(self.name, url, headers, body, self._trust)
        kind = answer.headers.get("x-amzn-errortype", "") or answer.text("__type", "code")
        message_id = answer.text("MessageId")
        outcome = ses_outcome(
            status=answer.status,
            error_type=kind.partition(":")[0].rpartition("#")[2],
            message_id=message_id,
        )
        return _settled(self.name, outcome, answer, message_id)


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}


def _settled(name: str, outcome: Outcome, answer: Answer, message_id: str) -> Receipt:
    if outcome is Outcome.SENT:
        return Receipt(provider=name, message_id=message_id)
    kind = answer.headers.get("x-amzn-errortype", "") or answer.text("name", "code", "__type")
    told = f"HTTP {answer.status} {kind} {answer.text('message', 'Message')}"
    raise refused(name, told) if outcome is Outcome.PERMANENT else unavailable(name, told)


async def _post(
    name: str, url: str, headers: Mapping[str, str], body: bytes, trust: ssl.SSLContext
) -> Answer:
    try:
        async with (
            asyncio.timeout(SEND_SECONDS_MAX),
            httpx.AsyncClient(verify=trust, trust_env=False, timeout=SEND_SECONDS_MAX) as client,
            client.stream("POST", url, headers=dict(headers), content=body) as answer,
        ):
            read = b""
            async for chunk in answer.aiter_bytes():
                read += chunk
                if len(read) > ANSWER_BYTES_MAX:
                    break
            return Answer(
                status=answer.status_code, headers=dict(answer.headers), body=_members(read)
            )
    except TimeoutError as error:
        raise unavailable(name, "no answer in time") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise unavailable(name, str(error) or type(error).__name__) from error


def _members(body: bytes) -> dict[str, object]:
    try:
        decoded: object = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return cast("dict[str, object]", decoded) if isinstance(decoded, dict) else {}
