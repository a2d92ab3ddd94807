"""Which web pages may call, in two classes [services 2.8].

Invariant: every answer of a service, refusals included, carries the headers its class grants; a
browser hides the status of an answer without them and the SDK then sends for ever
[sdk-protocol 4]. Class B echoes the origin and allows credentials, because a beacon is always a
credentialed request; nothing is at risk, since the key alone authenticates [sdk-protocol 5].
"""

import re
from collections.abc import Mapping
from typing import Final

from appliance.api.call import Boundary
from appliance.api.protocols import Headers

MAX_AGE_SECONDS: Final = b"7200"
_BASE_HEADERS: Final = (
    "content-type",
    "connect-protocol-version",
    "connect-timeout-ms",
    "grpc-timeout",
    "x-grpc-web",
    "x-user-agent",
)
_ALLOWED_HEADERS: Final[dict[bool, frozenset[str]]] = {
    True: frozenset({*_BASE_HEADERS, "x-api-key"}),
    False: frozenset({*_BASE_HEADERS, "authorization", "x-project-id"}),
}
_ALLOWED_METHODS: Final[dict[bool, frozenset[str]]] = {
    True: frozenset({"GET", "POST"}),
    False: frozenset({"GET", "POST", "OPTIONS"}),
}
_EXPOSED: Final = b"Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin"
_VARY: Final = (b"vary", b"Origin")
_VARY_PREFLIGHT: Final = (
    b"vary",
    b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
)


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks for leave."""
    return method == "OPTIONS" and "access-control-request-method" in headers


class CorsPolicy:
    """The two classes, with the operator's list of origins for class A."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        trimmed = [origin.strip().lower() for origin in origins]
        self._any_origin = "*" in trimmed
        self._patterns = tuple(_pattern(origin) for origin in trimmed if origin)

    def headers(self, boundary: Boundary, method: str, asked: Mapping[str, str]) -> Headers:
        """Headers of the answer to a request with these headers, a preflight's included."""
        origin = asked.get("origin")
        if origin is None or not is_preflight(method, asked):
            return self.answer_headers(boundary, origin)
        wanted = asked["access-control-request-method"]
        names = asked.get("access-control-request-headers")
        return self.preflight_headers(boundary, origin, wanted, names)

    def answer_headers(self, boundary: Boundary, origin: str | None) -> Headers:
        """Headers of every answer but a preflight's."""
        headers: Headers = [_VARY]
        if origin is not None and (allowed := self._allowed_origin(boundary, origin)):
            headers += [
                (b"access-control-allow-origin", allowed),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", _EXPOSED),
            ]
        return headers

    def preflight_headers(
        self, boundary: Boundary, origin: str, method: str, names: str | None
    ) -> Headers:
        """Headers of a preflight's answer; a refused one carries `Vary` alone."""
        headers: Headers = [_VARY_PREFLIGHT]
        sdk = boundary is Boundary.SDK
        wanted = [name.strip().lower() for name in (names or "").split(",") if name.strip()]
        allowed = self._allowed_origin(boundary, origin)
        if (
            not allowed
            or method not in _ALLOWED_METHODS[sdk]
            or not _ALLOWED_HEADERS[sdk].issuperset(wanted)
        ):
            return headers
        headers += [
            (b"access-control-allow-origin", allowed),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-allow-methods", method.encode()),
            (b"access-control-max-age", MAX_AGE_SECONDS),
        ]
        if wanted:
            headers.append((b"access-control-allow-headers", ", ".join(wanted).encode()))
        return headers

    def _allowed_origin(self, boundary: Boundary, origin: str) -> bytes | None:
        if boundary is Boundary.SDK:
            return origin.encode("latin-1")
        if self._any_origin:
            return b"*"
        if any(pattern.fullmatch(origin.lower()) for pattern in self._patterns):
            return origin.encode("latin-1")
        return None


def _pattern(origin: str) -> re.Pattern[str]:
    before, star, after = origin.partition("*")
    return re.compile(re.escape(before) + (".*" if star else "") + re.escape(after))
