"""Who is calling [services 3].

Invariant: a request is decoded only after its caller is known, and a look-up that fails is
`unavailable`, never `unauthenticated`, because SDKs drop a batch for good on the latter
[services 12 #23]. Which credential counts where is a property of the boundary.
"""

from collections.abc import Mapping
from typing import Final, assert_never
from urllib.parse import parse_qsl

from msgspec import Struct

from appliance.api.call import Boundary, Call
from appliance.api.ports import Access, Keys, Principal
from appliance.base.errors import UnauthenticatedError
from appliance.domain.access.callers import SignedIn

KEY_CHARACTERS_MAX: Final = 64
_PUBLIC: Final = "pub_"
_PRIVATE: Final = "prv_"
_KEY_PARAMETER: Final = "api_key"
_PARAMETERS_MAX: Final = 32
_BEARER: Final = "Bearer "
_BEARER_SCHEME: Final = "bearer"
_PROJECT_CHARACTERS_MAX: Final = 64


class Caller(Struct, frozen=True, kw_only=True):
    """Whom a request's credential stands for: a project, a customer, or both."""

    principal: Principal | None = None
    signed_in: SignedIn | None = None


async def authenticate(
    boundary: Boundary, headers: Mapping[str, str], query: bytes, keys: Keys, access: Access
) -> Caller:
    """The caller; nobody where no credential is asked for.

    Raises UnauthenticatedError for a missing, malformed or unknown credential and lets
    UnavailableError of the look-up pass.
    """
    match boundary:
        case Boundary.PUBLIC:
            return Caller()
        case Boundary.SDK:
            return Caller(principal=await _resolve(keys, _sdk_token(headers, query)))
        case Boundary.SHARED:
            if "x-api-key" in headers:
                return Caller(principal=await _resolve(keys, _private_token(headers)))
            return await _sign_in(access, headers)
        case Boundary.DASHBOARD:
            return await _sign_in(access, headers)
        case Boundary.MCP:
            return Caller(principal=await _resolve(keys, agent_token(headers)))
    assert_never(boundary)


async def admit(call: Call, query: bytes, keys: Keys, access: Access) -> None:
    """Write into a call whom its credential stands for; raises as `authenticate` does."""
    caller = await authenticate(call.boundary, call.headers, query, keys, access)
    call.principal, call.signed_in = caller.principal, caller.signed_in


def agent_token(headers: Mapping[str, str]) -> str | None:
    """The private key an agent shows, in either header; `x-api-key` decides when it is there, even
    if it is the wrong one, and neither public keys nor access tokens count [mcp 2].
    """
    if "x-api-key" in headers:
        return _private_token(headers)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == _BEARER_SCHEME and token.startswith(_PRIVATE) else None


async def _sign_in(access: Access, headers: Mapping[str, str]) -> Caller:
    """The customer of a token; a project that is named must be theirs, used or not."""
    text = headers.get("authorization", "")
    project = headers.get("x-project-id") or None
    if not text.startswith(_BEARER) or len(project or "") > _PROJECT_CHARACTERS_MAX:
        raise _refused()
    if project is not None and not project.isalnum():
        raise _refused()
    signed_in = await access.signed_in(text.removeprefix(_BEARER), project)
    if signed_in is None:
        raise _refused()
    return Caller(principal=signed_in.project, signed_in=signed_in)


def _sdk_token(headers: Mapping[str, str], query: bytes) -> str | None:
    """Any key in the header; in the query only a public one, and only without the header."""
    token = headers.get("x-api-key")
    if token is not None:
        return token if token.startswith((_PUBLIC, _PRIVATE)) else None
    if not query:
        return None
    try:
        pairs = parse_qsl(query.decode("latin-1"), max_num_fields=_PARAMETERS_MAX)
    except ValueError:
        return None
    token = next((value for name, value in pairs if name == _KEY_PARAMETER), None)
    return token if token is not None and token.startswith(_PUBLIC) else None


def _private_token(headers: Mapping[str, str]) -> str | None:
    """A private key; a present header never falls back to another credential."""
    token = headers.get("x-api-key")
    return token if token is not None and token.startswith(_PRIVATE) else None


async def _resolve(keys: Keys, token: str | None) -> Principal:
    if token is None or len(token) > KEY_CHARACTERS_MAX or not token.isascii():
        raise _refused()
    principal = await keys.resolve(token)
    if principal is None:
        raise _refused()
    return principal


def _refused() -> UnauthenticatedError:
    return UnauthenticatedError("UNAUTHENTICATED", "the credential is missing or not valid")
