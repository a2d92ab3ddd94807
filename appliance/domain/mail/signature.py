"""AWS's signature, version 4, of a request with a body.

Invariant: a pure function of the request, the credentials and the instant, proved against the
examples that AWS published. Made by hand because the SDK weighs more than the rest of our
dependencies for one call (decision 0020).
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from msgspec import Struct

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"


class AwsIdentity(Struct, frozen=True, kw_only=True):
    """Who signs; `token` only for temporary credentials. Never logged."""

    key_id: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return f"AwsIdentity({self.key_id})"


class Scope(Struct, frozen=True, kw_only=True):
    """For which service of which region."""

    region: str
    service: str


def signed_headers(
    *,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    identity: AwsIdentity,
    scope: Scope,
    now: datetime,
) -> dict[str, str]:
    """The headers to send: those given, `host`, the instant and the signature over all of them."""
    instant = now.strftime("%Y%m%dT%H%M%SZ")
    complete = {name.lower(): " ".join(text.split()) for name, text in headers.items()}
    complete |= {"host": urlsplit(url).netloc, "x-amz-date": instant}
    if identity.token:
        complete["x-amz-security-token"] = identity.token
    names = ";".join(sorted(complete))
    request = canonical_request(method=method, url=url, headers=complete, body=body)
    place = f"{instant[:8]}/{scope.region}/{scope.service}/{_TERMINATOR}"
    to_sign = f"{_ALGORITHM}\n{instant}\n{place}\n{_digest(request.encode())}"
    key = f"AWS4{identity.secret}".encode()
    for part in place.split("/"):
        key = _mac(key, part)
    signature = _mac(key, to_sign).hex()
    complete["authorization"] = (
        f"{_ALGORITHM} Credential={identity.key_id}/{place}, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    return complete


def canonical_request(*, method: str, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """The request in the one form that is signed; header names are lower case already."""
    parts = urlsplit(url)
    query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(text, safe='-_.~')}"
        for name, text in sorted(parse_qsl(parts.query, keep_blank_values=True))
    )
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    return "\n".join(
        (
            method,
            quote(parts.path or "/", safe="/-_.~"),
            query,
            *lines,
            "",
            ";".join(sorted(headers)),
            _digest(body),
        )
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
