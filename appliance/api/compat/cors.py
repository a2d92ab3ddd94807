"""Which web pages may call the endpoints of other products: all of them, with any header.

Invariant: the key alone authenticates, no cookie is read, so echoing is no risk; and an answer
without these headers makes a browser hide the status, upon which clients repeat for ever
[compat-ingest 1, 2; sdk-protocol 5].
"""

import re
from collections.abc import Mapping
from typing import Final

from appliance.api.cors import MAX_AGE_SECONDS
from appliance.api.protocols import Headers

_HEADERS_CHARACTERS_MAX: Final = 1024
_NAMES: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~ ,-]*")
_METHODS: Final = b"GET, POST, OPTIONS"
_EXPOSED: Final = b"Retry-After"


def answer_headers(headers: Mapping[str, str]) -> Headers:
    """Headers of every answer to this request, a preflight's included."""
    added: Headers = [(b"vary", b"Origin")]
    origin = headers.get("origin")
    if origin is None:
        return added
    added += [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", _EXPOSED),
    ]
    names = headers.get("access-control-request-headers", "")
    if "access-control-request-method" in headers:
        added += [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", MAX_AGE_SECONDS),
        ]
        if names and len(names) <= _HEADERS_CHARACTERS_MAX and _NAMES.fullmatch(names):
            added.append((b"access-control-allow-headers", names.encode("latin-1")))
    return added
