"""Signatures of ID tokens: whose keys, which algorithms.

Invariant: a token is believed by a public key that its provider publishes and an algorithm of the
list below, whatever its header asks for: never `none`, never a shared secret, never a key that the
token brings along. What the claims say is judged in `domain/access/oidc.py`.
"""

from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import DictKey, ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, extract_compact
from msgspec import Struct

ALGORITHMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "Ed25519": "OKP",
}
"""Accepted algorithms and the type of key each needs."""
TOKEN_CHARACTERS_MAX: Final = 64 << 10
KEYS_MAX: Final = 50
TRIED_MAX: Final = 10
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 8192
_MEMBERS: Final = ("kty", "n", "e", "crv", "x", "y")
_REGISTRY: Final = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "Ed25519": "Ed25519"}


class PublicKey(Struct, frozen=True, kw_only=True):
    """A key of a provider; `kid` and `algorithm` are empty where the provider names none."""

    kind: str
    kid: str
    algorithm: str
    curve: str
    key: RSAKey | ECKey | OKPKey


class TokenHeader(Struct, frozen=True, kw_only=True):
    """What a token says about its signature."""

    algorithm: str
    kid: str


def parse_keys(document: Mapping[str, object]) -> tuple[PublicKey, ...]:
    """The usable signing keys of a JWKS; others, of which there may be any, are passed over."""
    found = document.get("keys")
    listed = cast("list[object]", found)[:KEYS_MAX] if isinstance(found, list) else []
    return tuple(_usable(listed))


def parse_header(token: str) -> TokenHeader | None:
    """The header of a signed token; None for what is none or uses another algorithm."""
    if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
        return None
    try:
        header = extract_compact(token.encode(), None, _REGISTRY).headers()
    except (JoseError, ValueError, TypeError):
        return None
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or not isinstance(kid, str):
        return None
    return TokenHeader(algorithm=algorithm, kid=kid)


def fitting(header: TokenHeader, keys: Iterable[PublicKey]) -> tuple[PublicKey, ...]:
    """The keys that may have signed a token of this header."""
    return tuple(
        key
        for key in keys
        if key.kind == ALGORITHMS[header.algorithm]
        and key.curve == _CURVES.get(header.algorithm, "")
        and key.algorithm in {"", header.algorithm}
        and (not header.kid or key.kid in {"", header.kid})
    )[:TRIED_MAX]


def verified_claims(
    token: str, header: TokenHeader, keys: Iterable[PublicKey]
) -> Mapping[str, object] | None:
    """The claims of a token that one of these keys signed; None when none of them did."""
    for key in keys:
        try:
            return jwt.decode(
                token, key.key, algorithms=[header.algorithm], registry=_REGISTRY
            ).claims
        except (JoseError, ValueError, TypeError):
            continue
    return None


def _usable(listed: Iterable[object]) -> Iterator[PublicKey]:
    for one in listed:
        if not isinstance(one, dict):
            continue
        described = cast("dict[str, object]", one)
        if described.get("use", "sig") != "sig":
            continue
        key = _import(described)
        if key is not None:
            yield PublicKey(
                kind=key.key_type,
                kid=_text(described, "kid"),
                algorithm=_text(described, "alg"),
                curve="" if isinstance(key, RSAKey) else _text(described, "crv"),
                key=key,
            )


def _import(described: Mapping[str, object]) -> RSAKey | ECKey | OKPKey | None:
    public: DictKey = {name: text for name in _MEMBERS if (text := _text(described, name))}
    try:
        match public.get("kty"):
            case "RSA" if RSA_BITS_MIN <= _bits(_text(described, "n")) <= RSA_BITS_MAX:
                return RSAKey.import_key(public)
            case "EC":
                return ECKey.import_key(public)
            case "OKP":
                return OKPKey.import_key(public)
            case _:
                return None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _bits(number: str) -> int:
    raw = urlsafe_b64decode(number + "=" * (-len(number) % 4))
    return int.from_bytes(raw, "big").bit_length()


def _text(described: Mapping[str, object], name: str) -> str:
    found = described.get(name)
    return found if isinstance(found, str) else ""
