"""Single sign-on in a browser: GET /auth/oidc/{slug}/authorize and /auth/oidc/{slug}/callback.

Invariant: a browser gets redirects only, none to an address that a request named; state, code and
token are in no log line and no `Referer`. What a browser must bring back is in a cookie of its own
for each sign-in, so that two tabs do not disturb each other. The way it works: decision 0017.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode

import structlog
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Receive, Send

from appliance.api.call import Boundary, Call
from appliance.api.errors import wire_error
from appliance.api.frame import SAFETY_HEADERS, Frame, door, send_whole
from appliance.api.protocols import Answer, Headers, refusal
from appliance.base.errors import (
    ConnectCode,
    ExhaustedError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from appliance.services.oidc.service import FLOW_LIFETIME, OidcService
from appliance.services.provisioning import known_timezone
from appliance.services.sessions import hash_token

PREFIX: Final = "/auth/oidc"
QUERY_BYTES_MAX: Final = 16 << 10
COOKIES_BYTES_MAX: Final = 16 << 10
FIELDS_MAX: Final = 32
_TIMEZONE_CHARACTERS_MAX: Final = 64
_COOKIE_NAME_CHARACTERS: Final = 16
_SAFE: Final[Headers] = [
    *SAFETY_HEADERS,
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_ERRORS: Final[Mapping[ConnectCode, str]] = {
    ConnectCode.UNAUTHENTICATED: "access_denied",
    ConnectCode.INVALID_ARGUMENT: "access_denied",
    ConnectCode.NOT_FOUND: "invalid_request",
    ConnectCode.UNAVAILABLE: "temporarily_unavailable",
    ConnectCode.DEADLINE_EXCEEDED: "temporarily_unavailable",
    ConnectCode.RESOURCE_EXHAUSTED: "temporarily_unavailable",
}
"""Our errors in the words that dashboards know from providers (RFC 6749, 4.1.2.1)."""

_log = structlog.get_logger()


class SignInPages:
    """Answers browsers on their way to a provider and back."""

    def __init__(self, oidc: OidcService, frame: Frame) -> None:
        self._oidc = oidc
        self._frame = frame
        self._secure = oidc.base_url.startswith("https://")

    def handler(self) -> ASGIRouteHandler:
        """Everything below `/auth/oidc`."""

        async def serve(scope: HTTPScope, receive: Receive, send: Send) -> None:  # noqa: ARG001 the shape of ASGI
            answer = await self._answer(scope)
            headers = [*answer.headers, *_SAFE]
            await send_whole(send, Answer(status=answer.status, headers=headers, body=answer.body))

        return door(PREFIX, serve, with_below=True)

    async def _answer(self, scope: HTTPScope) -> Answer:
        step = "-"
        with self._frame.opened(scope, Boundary.PUBLIC) as call:
            try:
                path = scope["path"].strip("/").removeprefix(PREFIX.strip("/")).strip("/")
                slug, _, step = path.partition("/")
                answer = await self._step(scope, call, slug, step)
            except Exception as error:  # noqa: BLE001 the last door before the socket
                answer = self._refused(call, error)
        known = step if step in {"authorize", "callback"} else "-"
        _log.info(
            "sign_in_page_answered",
            request_id=call.request_id,
            step=known,
            status=answer.status,
            code=call.code,
            reason=call.reason,
            **call.error_fields,
        )
        return answer

    async def _step(self, scope: HTTPScope, call: Call, slug: str, step: str) -> Answer:
        if step not in {"authorize", "callback"}:
            raise NotFoundError("NOT_FOUND", "nothing is served here")
        if scope["method"] != "GET":
            # Not HEAD either: looking at a callback would use it up.
            return Answer(status=405, headers=[(b"allow", b"GET")])
        query = _fields(scope["query_string"])
        if step == "authorize":
            return await self._authorize(slug, query)
        return await self._callback(slug, query, call)

    async def _authorize(self, slug: str, query: Mapping[str, str]) -> Answer:
        timezone = query.get("timezone", "")
        if len(timezone) > _TIMEZONE_CHARACTERS_MAX:
            timezone = ""
        departure = await self._oidc.begin(slug, timezone=known_timezone(timezone))
        cookie = self._cookie(
            departure.state_hash,
            departure.browser.reveal(),
            int(FLOW_LIFETIME.total_seconds()),
        )
        return _redirect(departure.url, [cookie])

    async def _callback(self, slug: str, query: Mapping[str, str], call: Call) -> Answer:
        state_hash = hash_token(query.get("state", ""))
        browser = _cookies(call.headers.get("cookie", "")).get(self._cookie_name(state_hash), "")
        forget = self._cookie(state_hash, "", 0)
        try:
            url = await self._oidc.finish(slug, answer=query, browser=browser, address=call.address)
        except Exception as error:  # noqa: BLE001 a person looks at this page, whatever broke
            wire = wire_error(error)
            _log.debug("sign_in_failed", code=wire.code.value)
            return _redirect(self._told(wire.message, ConnectCode(wire.code.value)), [forget])
        return _redirect(url, [forget])

    def _told(self, sentence: str, code: ConnectCode) -> str:
        """The dashboard's own page about sign-ins that failed."""
        told = urlencode(
            {"error": _ERRORS.get(code, "server_error"), "error_description": sentence}
        )
        return f"{self._oidc.frontend_url}/oauth/callback?{told}"

    def _refused(self, call: Call, error: Exception) -> Answer:
        wire = wire_error(error)
        expected = isinstance(error, UnavailableError | ExhaustedError)
        if expected and "text/html" in call.headers.get("accept", ""):
            return _redirect(self._told(wire.message, ConnectCode(wire.code.value)), [])
        return refusal(wire, content_type="")

    def _cookie_name(self, state_hash: str) -> str:
        name = f"pug-oidc-{state_hash[:_COOKIE_NAME_CHARACTERS]}"
        return f"__Host-{name}" if self._secure else name

    def _cookie(self, state_hash: str, value: str, seconds: int) -> tuple[bytes, bytes]:
        """`Lax`, because the provider's redirect comes from another site."""
        text = f"{self._cookie_name(state_hash)}={value}; Path=/; Max-Age={seconds}; HttpOnly"
        text += "; SameSite=Lax" + ("; Secure" if self._secure else "")
        return b"set-cookie", text.encode("latin-1")


def _redirect(url: str, headers: Headers) -> Answer:
    return Answer(status=303, headers=[(b"location", url.encode("latin-1")), *headers])


def _fields(query: bytes) -> dict[str, str]:
    """The fields of a query; of a repeated one the first. Raises InvalidInputError."""
    unreadable = InvalidInputError("INVALID_ARGUMENT", "the query cannot be read")
    if len(query) > QUERY_BYTES_MAX:
        raise unreadable
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise unreadable from error
    return dict(reversed(pairs))


def _cookies(header: str) -> dict[str, str]:
    if len(header) > COOKIES_BYTES_MAX:
        return {}
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return {name: value for name, _, value in pairs}
