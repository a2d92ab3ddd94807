"""The access token as a cookie, for pages of our own origin [services 3.2; decision 0041].

Invariant: a browser is given the cookie by an answer that gives it a session anyway, and only on a
page of our own origin; what programs and pages elsewhere are answered is what it always was. The
cookie never tells more than that token and never lives longer. Only `/graphql` counts it
(`graphql/credentials.py`).
"""

from collections.abc import Mapping
from typing import Final, Protocol

from appliance.base.errors import UnauthenticatedError
from appliance.config.secrets import Secret
from appliance.services.tokens import ACCESS_SECONDS

COOKIE: Final = "pug-access"
PATH: Final = "/graphql"
COOKIES_BYTES_MAX: Final = 16 << 10
_HOST_PREFIX: Final = "__Host-"
"""Browsers take such a cookie from this very host only, and demand the path `/` for it."""
_SAME_ORIGIN: Final = "same-origin"


class AnswerHeaders(Protocol):
    """Headers of an answer that is still to be written."""

    def add(self, key: str, value: str, /) -> None:
        """Append one."""
        ...


class AccessCookie:
    """Gives, takes back and reads the cookie; `secure` where the site is reached by HTTPS."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        self._name = _HOST_PREFIX + COOKIE if secure else COOKIE
        self._path = "/" if secure else PATH

    def give(self, asked: Mapping[str, str], answer: AnswerHeaders, token: Secret) -> None:
        """Let the browser keep the token of a session that has just begun or gone on."""
        self._set(asked, answer, token.reveal(), ACCESS_SECONDS)

    def take_back(self, asked: Mapping[str, str], answer: AnswerHeaders) -> None:
        """Let the browser forget it."""
        self._set(asked, answer, "", 0)

    def read(self, header: str) -> str | None:
        """The token in a request's `Cookie`; raises UnauthenticatedError when it is there twice."""
        if len(header) > COOKIES_BYTES_MAX:
            raise _unclear()
        pairs = (part.strip().partition("=") for part in header.split(";"))
        found = [value for each, _, value in pairs if each == self._name]
        if len(found) > 1:
            raise _unclear()
        return found[0] if found and found[0] else None

    def _set(
        self, asked: Mapping[str, str], answer: AnswerHeaders, value: str, seconds: int
    ) -> None:
        if "origin" not in asked or not from_own_page(asked, secure=self._secure):
            return
        text = f"{self._name}={value}; Path={self._path}; Max-Age={seconds}"
        text += "; HttpOnly; SameSite=Strict"
        if asked["origin"].startswith("https://"):
            text += "; Secure"
        answer.add("set-cookie", text)


def from_own_page(headers: Mapping[str, str], *, secure: bool) -> bool:
    """Whether nothing in a request says that a page of another origin sent it."""
    site = headers.get("sec-fetch-site", _SAME_ORIGIN)
    scheme, _, host = headers.get("origin", "").partition("://")
    own = host == headers.get("host", "") and (scheme == "https" or not secure)
    return site == _SAME_ORIGIN and (own or "origin" not in headers)


def _unclear() -> UnauthenticatedError:
    return UnauthenticatedError("UNAUTHENTICATED", "the cookies of this request are not clear")
