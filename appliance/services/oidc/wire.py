"""HTTP to providers: one bounded answer each, over checked connections.

Invariant: only addresses that settings or a provider's own discovery name, HTTPS or loopback; no
redirects, no proxy of the environment, no cookies; an answer is read up to a bound. Everything
that goes wrong on the way is one `UnavailableError`; what was sent is in no error and no log.
"""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import httpx
import msgspec
from msgspec import Struct

from appliance.base.errors import MisconfiguredError, UnavailableError
from appliance.config.oidc import is_checked
from appliance.services.trust import client_context

ANSWER_SECONDS_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 512 << 10
_SERVER_BROKEN: Final = 500


class ProviderAnswer(Struct, frozen=True, kw_only=True):
    """What a provider said: a JSON object, empty where it was none."""

    status: int
    body: Mapping[str, object]

    def text(self, name: str) -> str:
        """A member that is a text, or nothing."""
        found = self.body.get(name)
        return found if isinstance(found, str) else ""


class ProviderWire:
    """Asks providers; making it touches neither network nor disk."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._trust: ssl.SSLContext | None = None

    async def get(self, url: str, *, bearer: str | None = None) -> ProviderAnswer:
        """A document; raises UnavailableError."""
        headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
        return await self._ask("GET", url, headers=headers, form=None)

    async def post(
        self, url: str, form: Mapping[str, str], *, authorization: str | None
    ) -> ProviderAnswer:
        """The answer to a form; raises UnavailableError."""
        headers = {} if authorization is None else {"authorization": authorization}
        return await self._ask("POST", url, headers=headers, form=form)

    async def _ask(
        self, method: str, url: str, *, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> ProviderAnswer:
        if not is_checked(url):
            raise unreachable(url, "address")
        trust = self._trusted(url)
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS_MAX),
                httpx.AsyncClient(
                    verify=trust,
                    trust_env=False,
                    follow_redirects=False,
                    timeout=ANSWER_SECONDS_MAX,
                ) as client,
                client.stream(
                    method, url, headers={"accept": "application/json", **headers}, data=form
                ) as answer,
            ):
                status = answer.status_code
                body = await _bounded(answer)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise unreachable(url, type(error).__name__) from error
        if body is None:
            raise unreachable(url, "size")
        if status >= _SERVER_BROKEN:
            raise unreachable(url, f"status {status}")
        return ProviderAnswer(status=status, body=_object(body))

    def _trusted(self, url: str) -> ssl.SSLContext:
        if self._trust is None:
            try:
                self._trust = client_context(self._ca_file)
            except MisconfiguredError as error:
                raise unreachable(url, error.reason) from error
        return self._trust


def unreachable(url: str, cause: str) -> UnavailableError:
    """A provider that does not answer as it must; the log alone learns who and why."""
    host = url.partition("://")[2].partition("/")[0]
    return UnavailableError(
        "UNAVAILABLE",
        "the sign-in provider does not answer; try again later",
        fields={"provider": host, "cause": cause},
    )


async def _bounded(answer: httpx.Response) -> bytes | None:
    parts = bytearray()
    async for part in answer.aiter_bytes():
        parts += part
        if len(parts) > ANSWER_BYTES_MAX:
            return None
    return bytes(parts)


def _object(body: bytes) -> Mapping[str, object]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}
