"""Who asks the graph: a cookie, a bearer token, a private key, or nobody.

Invariant: one credential counts, and one that is there but does not hold is refused, never passed
over. A cookie counts only when the page that asks is ours: a foreign page can make a browser send
the cookie, but neither set the header below without asking us first, which is never answered, nor
hide that it is foreign (decision 0032).
"""

from collections.abc import Mapping
from typing import Final

from appliance.api.authenticate import Caller, authenticate
from appliance.api.call import Boundary
from appliance.api.ports import Access, Keys
from appliance.base.errors import ForbiddenError, UnauthenticatedError

COOKIE: Final = "pug-access"
CSRF_HEADER: Final = "x-graphql-csrf"
COOKIES_BYTES_MAX: Final = 16 << 10
_HOST_PREFIX: Final = "__Host-"
_SAME_ORIGIN: Final = "same-origin"
_UNUSED: Final = "x-project-id"
"""The question itself names its projects."""


async def asking_caller(
    headers: Mapping[str, str], keys: Keys, access: Access, *, secure: bool
) -> Caller:
    """The caller; an empty one without any credential.

    Raises UnauthenticatedError, ForbiddenError (`CSRF_REFUSED`), UnavailableError.
    """
    sent = {name: value for name, value in headers.items() if name != _UNUSED}
    if "authorization" not in sent and "x-api-key" not in sent:
        token = _token_of_cookie(headers.get("cookie", ""), secure=secure)
        if token is None:
            return Caller()
        require_own_page(headers, secure=secure)
        sent["authorization"] = f"Bearer {token}"
    return await authenticate(Boundary.SHARED, sent, b"", keys, access)


def require_own_page(headers: Mapping[str, str], *, secure: bool) -> None:
    """Return when a page of this origin asks; raises ForbiddenError (`CSRF_REFUSED`)."""
    site = headers.get("sec-fetch-site", _SAME_ORIGIN)
    scheme, _, host = headers.get("origin", "").partition("://")
    own = host == headers.get("host", "") and (scheme == "https" or not secure)
    own = own or "origin" not in headers
    if not headers.get(CSRF_HEADER) or site != _SAME_ORIGIN or not own:
        raise ForbiddenError(
            "CSRF_REFUSED",
            f"a cookie counts only from a page of this origin that sets {CSRF_HEADER}",
        )


def _token_of_cookie(header: str, *, secure: bool) -> str | None:
    """The access token of the cookie; raises UnauthenticatedError when it is there twice."""
    if len(header) > COOKIES_BYTES_MAX:
        raise _unclear()
    name = _HOST_PREFIX + COOKIE if secure else COOKIE
    pairs = (part.strip().partition("=") for part in header.split(";"))
    found = [value for each, _, value in pairs if each == name]
    if len(found) > 1:
        raise _unclear()
    return found[0] if found and found[0] else None


def _unclear() -> UnauthenticatedError:
    return UnauthenticatedError("UNAUTHENTICATED", "the cookies of this request are not clear")
