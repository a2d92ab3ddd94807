"""Which signatures are believed: keys and algorithms [issue 4]."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from appliance.services.oidc.signatures import (
    fitting,
    parse_header,
    parse_keys,
    verified_claims,
)

RSA = RSAKey.generate_key(2048)
CURVE = ECKey.generate_key("P-256")
EDWARDS = OKPKey.generate_key("Ed25519")
CLAIMS = {"sub": "1"}


def described(key: RSAKey | ECKey | OKPKey, **more: str) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


def believed(token: str, *keys: dict[str, Any]) -> bool:
    header = parse_header(token)
    if header is None:
        return False
    known = parse_keys({"keys": list(keys)})
    return verified_claims(token, header, fitting(header, known)) == CLAIMS


def signed(algorithm: str, key: Any, **header: str) -> str:
    return jwt.encode({"alg": algorithm, **header}, CLAIMS, key, algorithms=[algorithm])


def segment(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", RSA), ("RS512", RSA), ("PS256", RSA), ("ES256", CURVE), ("Ed25519", EDWARDS)],
)
def test_public_keys_are_believed(algorithm: str, key: Any) -> None:
    assert believed(signed(algorithm, key), described(key))
    assert believed(signed(algorithm, key, kid="a"), described(key, kid="a", alg=algorithm))
    assert not believed(signed(algorithm, key, kid="a"), described(key, kid="b"))
    assert not believed(signed(algorithm, key), described(key, use="enc"))


def test_another_algorithm_than_the_key_is_for() -> None:
    assert not believed(signed("RS256", RSA), described(RSA, alg="PS256"))


def test_no_signature_and_shared_secrets() -> None:
    """`none`, and HMAC with a public key as its secret, the classic confusion."""
    body = segment(CLAIMS)
    assert not believed(f"{segment({'alg': 'none'})}.{body}.", described(RSA))
    public = RSA.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    start = f"{segment({'alg': 'HS256'})}.{body}"
    digest = hmac.new(public, start.encode(), hashlib.sha256).digest()
    forged = f"{start}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
    assert not believed(forged, described(RSA))
    shared = {"kty": "oct", "k": base64.urlsafe_b64encode(public).decode()}
    assert not believed(forged, shared)


def test_a_key_that_the_token_brings_along() -> None:
    stranger = RSAKey.generate_key(2048)
    token = signed("RS256", stranger, kid="a")
    head, body, signature = token.split(".")
    fields = json.loads(base64.urlsafe_b64decode(head + "=="))
    for own in ({"jwk": {"kty": "RSA"}}, {"jku": "https://evil.test/jwks"}, {"x5u": "https://e"}):
        changed = f"{segment(fields | own)}.{body}.{signature}"
        assert not believed(changed, described(RSA, kid="a"))


def test_short_keys_and_nonsense_are_passed_over() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    number = short.public_numbers().n
    weak = {
        "kty": "RSA",
        "n": base64.urlsafe_b64encode(number.to_bytes(128, "big")).rstrip(b"=").decode(),
        "e": "AQAB",
    }
    nonsense: list[Any] = [weak, None, 7, {}, {"kty": "EC"}, {"kty": "EC", "crv": "P-1"}]
    assert parse_keys({"keys": [*nonsense, described(RSA)]})[0].kind == "RSA"
    assert parse_keys({"keys": nonsense}) == ()
    assert parse_keys({"keys": "x"}) == parse_keys({}) == ()


@pytest.mark.parametrize(
    "token", ["", "a", "a.b", "a.b.c", "ü.ü.ü", "e30.e30.e30", "x" * 70_000, "W10.e30.", "bnVsbA.."]
)
def test_what_is_no_token(token: str) -> None:
    assert parse_header(token) is None
