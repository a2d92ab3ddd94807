"""Who asks the graph: a cookie, a bearer token, a private key, or nobody.

Invariant: one credential counts, and one that is there but does not hold is refused, never passed
over. A cookie counts only when the page that asks is ours: a foreign page can make a browser send
the cookie, but neither set the header below without asking us first, which is never answered, nor
hide that it is foreign (decision 0032). Who is given the cookie: `access_cookie.py`.
"""

from collections.abc import Mapping
from typing import Final

from appliance.api.access_cookie import AccessCookie, from_own_page
from appliance.api.authenticate import Caller, authenticate
from appliance.api.call import Boundary
from appliance.api.ports import Access, Keys
from appliance.base.errors import ForbiddenError

CSRF_HEADER: Final = "x-graphql-csrf"
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
        token = AccessCookie(secure=secure).read(headers.get("cookie", ""))
        if token is None:
            return Caller()
        require_own_page(headers, secure=secure)
        sent["authorization"] = f"Bearer {token}"
    return await authenticate(Boundary.SHARED, sent, b"", keys, access)


def require_own_page(headers: Mapping[str, str], *, secure: bool) -> None:
    """Return when a page of this origin asks; raises ForbiddenError (`CSRF_REFUSED`)."""
    if not headers.get(CSRF_HEADER) or not from_own_page(headers, secure=secure):
        raise ForbiddenError(
            "CSRF_REFUSED",
            f"a cookie counts only from a page of this origin that sets {CSRF_HEADER}",
        )
