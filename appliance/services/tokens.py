"""Access tokens: JWT, HS256, 24 hours, for the dashboard [services 3.2].

Invariant: only our own key, algorithm, issuer and audience count, without leeway; who the customer
is and what they may do is looked up per request, never read from a token.
"""

import secrets
from typing import Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jwt import JWTClaimsRegistry

from appliance.base.clock import Clock
from appliance.base.errors import MisconfiguredError
from appliance.base.ids import IdMaker
from appliance.config.secrets import Secret

ACCESS_SECONDS: Final = 24 * 3600
TOKEN_CHARACTERS_MAX: Final = 4096
_ALGORITHM: Final = "HS256"
_ISSUER: Final = "pug/auth"
_AUDIENCE: Final = "pug/dashboard"


class AccessTokens:
    """Issues and verifies access tokens with one key."""

    def __init__(self, key: Secret, *, clock: Clock, ids: IdMaker) -> None:
        text = key.reveal()
        if not text:
            raise MisconfiguredError(
                "SIGNING_KEY_EMPTY",
                "the key that signs access tokens is empty",
                hint="set sessions.signing_key, or leave it unset to have one made",
            )
        self._key = OctKey.import_key(text.encode())
        self._clock = clock
        self._ids = ids

    def issue(self, customer_id: str) -> str:
        """A fresh token of a customer."""
        now = int(self._clock.now().timestamp())
        claims: dict[str, str | int | list[str]] = {
            "iss": _ISSUER,
            "aud": [_AUDIENCE],
            "sub": customer_id,
            "jti": self._ids.make(),
            "iat": now,
            "exp": now + ACCESS_SECONDS,
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, self._key, algorithms=[_ALGORITHM])

    def verify(self, text: str) -> str | None:
        """The customer id a token is for; None when it is not ours, damaged or too old."""
        if len(text) > TOKEN_CHARACTERS_MAX or not text.isascii():
            return None
        rules = JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            iss={"essential": True, "value": _ISSUER},
            aud={"essential": True, "value": _AUDIENCE},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            claims = jwt.decode(text, self._key, algorithms=[_ALGORITHM]).claims
            rules.validate(claims)
        except (JoseError, ValueError, TypeError):
            return None
        subject = claims["sub"]
        return subject if isinstance(subject, str) and subject else None


def ephemeral_key() -> Secret:
    """A key that lives as long as this process: for programs that never issue tokens."""
    return Secret(secrets.token_hex(32))
