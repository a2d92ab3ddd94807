"""Where other products' clients put the write key or project token [compat-ingest 1, 2].

Invariant: a key counts from the first place that holds one, headers before the query before the
body, and never a private key from a query: addresses end up in logs.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Final

from appliance.api.authenticate import KEY_CHARACTERS_MAX
from appliance.api.ports import Keys, Principal
from appliance.base.errors import UnauthenticatedError
from appliance.domain.compat.reading import JsonObject, as_list, as_object, inner, read_text

_PUBLIC: Final = "pub_"
_KEYS: Final = (_PUBLIC, "prv_")
_BASIC: Final = "basic "
_BEARER: Final = "bearer "
_NAMES: Final = ("writeKey", "api_key", "token")
_BASIC_CHARACTERS_MAX: Final = 256


def key_of_request(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The key in headers or query; None when there is none, which is not a wrong one."""
    return _key_of_headers(headers) or next(
        (query[name] for name in _NAMES if query.get(name, "").startswith(_PUBLIC)), None
    )


def _key_of_headers(headers: Mapping[str, str]) -> str | None:
    text = headers.get("authorization", "")
    scheme = text[: len(_BEARER)].lower()
    if scheme == _BEARER and text[len(_BEARER) :].startswith(_KEYS):
        return text[len(_BEARER) :]
    if scheme.startswith(_BASIC) and len(text) <= _BASIC_CHARACTERS_MAX:
        try:
            told = b64decode(text[len(_BASIC) :], validate=True).decode("ascii")
        except (Base64Error, ValueError):
            return None
        return told.partition(":")[0] or None
    return headers.get("x-api-key") or None


def key_of_body(body: object) -> str | None:
    """The key in a decoded body: of the whole, else of its first message."""
    whole = as_object(body)
    listed = as_list(whole.get("batch")) or as_list(body)
    first = as_object(listed[0] if listed else None)
    for content in (whole, first):
        found = _named(content) or _named(inner(content, "properties"))
        if found is not None:
            return found
    return None


def _named(content: JsonObject) -> str | None:
    found = (read_text(content.get(name)) for name in _NAMES)
    return next((text for text in found if text is not None and text.startswith(_KEYS)), None)


async def whose(keys: Keys, key: str | None) -> Principal:
    """The project of a key; raises UnauthenticatedError, lets UnavailableError pass."""
    principal = None
    if key is not None and len(key) <= KEY_CHARACTERS_MAX and key.isascii():
        principal = await keys.resolve(key)
    if principal is None:
        raise UnauthenticatedError("UNAUTHENTICATED", "the key is missing or not valid")
    return principal
