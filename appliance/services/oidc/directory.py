"""What a provider says about itself: its discovery document and its keys, fetched when needed.

Invariant: nothing is asked before somebody signs in; an answer is kept for an hour, and a failure
for a few seconds, so that neither a slow provider nor a flood of sign-ins makes many questions. A
token signed by an unknown key makes the keys be fetched once more, at most every ten seconds.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import UnavailableError
from appliance.config.oidc import is_checked
from appliance.services.oidc.signatures import (
    PublicKey,
    TokenHeader,
    fitting,
    parse_keys,
    verified_claims,
)
from appliance.services.oidc.wire import ProviderWire, unreachable

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
KEPT_SECONDS_MAX: Final = 3600.0
FAILURE_SECONDS: Final = 5.0
REFETCH_SECONDS_MIN: Final = 10.0
_OK: Final = 200


class Metadata(Struct, frozen=True, kw_only=True):
    """A discovery document; `names_issuer`: answers to browsers say who sends them (RFC 9207)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    basic_authentication: bool
    names_issuer: bool


class _Kept(Struct, frozen=True, kw_only=True):
    metadata: Metadata
    keys: tuple[PublicKey, ...]
    fetched_at: float
    keys_fetched_at: float


class ProviderDirectory:
    """One issuer's documents; making it touches no network."""

    def __init__(self, issuer_url: str, wire: ProviderWire, clock: Clock) -> None:
        self._issuer_url = issuer_url
        self._wire = wire
        self._clock = clock
        self._asking = asyncio.Lock()
        self._kept: _Kept | None = None
        self._failure: UnavailableError | None = None
        self._failed_at = 0.0

    async def metadata(self) -> Metadata:
        """Where the provider's endpoints are; raises UnavailableError."""
        return (await self._current()).metadata

    async def claims(self, token: str, header: TokenHeader) -> Mapping[str, object] | None:
        """The claims of a token signed by the provider; None when it was not.

        Raises UnavailableError when the provider must be asked and does not answer.
        """
        kept = await self._current()
        claims = verified_claims(token, header, fitting(header, kept.keys))
        if claims is not None:
            return claims
        fresh = await self._with_fresh_keys(kept)
        if fresh is kept:
            return None
        return verified_claims(token, header, fitting(header, fresh.keys))

    async def _current(self) -> _Kept:
        async with self._asking:
            now = self._clock.monotonic_seconds()
            if self._kept is not None and now - self._kept.fetched_at < KEPT_SECONDS_MAX:
                return self._kept
            if self._failure is not None and now - self._failed_at < FAILURE_SECONDS:
                raise UnavailableError(
                    self._failure.reason, self._failure.message, fields=self._failure.fields
                )
            try:
                metadata = await self._fetch_metadata()
                keys = await self._fetch_keys(metadata)
            except UnavailableError as error:
                self._kept, self._failure, self._failed_at = None, error, now
                raise
            self._failure = None
            self._kept = _Kept(metadata=metadata, keys=keys, fetched_at=now, keys_fetched_at=now)
            return self._kept

    async def _with_fresh_keys(self, known: _Kept) -> _Kept:
        """What is known with keys fetched again; the same when that was done just now."""
        async with self._asking:
            kept = self._kept or known
            now = self._clock.monotonic_seconds()
            if kept is not known:
                return kept  # somebody else fetched meanwhile
            if now - kept.keys_fetched_at < REFETCH_SECONDS_MIN:
                return known
            # Noted before it is known how it ends: a provider that fails is left alone, too.
            self._kept = msgspec.structs.replace(kept, keys_fetched_at=now)
            keys = await self._fetch_keys(kept.metadata)
            self._kept = msgspec.structs.replace(self._kept, keys=keys)
            return self._kept

    async def _fetch_metadata(self) -> Metadata:
        base = self._issuer_url.rstrip("/")
        answer = await self._wire.get(base + DISCOVERY_PATH)
        issuer = answer.text("issuer")
        if answer.status != _OK or issuer.rstrip("/") != base:
            raise unreachable(base, "discovery")
        endpoints = {
            name: answer.text(name)
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        }
        if not all(is_checked(url) for url in endpoints.values()):
            raise unreachable(base, "endpoints")
        userinfo = answer.text("userinfo_endpoint")
        methods = answer.body.get("token_endpoint_auth_methods_supported")
        listed = cast("list[object]", methods) if isinstance(methods, list) else []
        return Metadata(
            issuer=issuer,
            **endpoints,
            userinfo_endpoint=userinfo if is_checked(userinfo) else "",
            basic_authentication=not listed or "client_secret_basic" in listed,
            names_issuer=answer.body.get("authorization_response_iss_parameter_supported") is True,
        )

    async def _fetch_keys(self, metadata: Metadata) -> tuple[PublicKey, ...]:
        answer = await self._wire.get(metadata.jwks_uri)
        keys = parse_keys(answer.body) if answer.status == _OK else ()
        if not keys:
            raise unreachable(metadata.jwks_uri, "keys")
        return keys
