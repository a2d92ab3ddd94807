"""Credentials at rest have the contract's form [workers 4.3] and are shown redacted."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.base.errors import UnmetError
from appliance.config.secrets import Secret
from appliance.services.mail.sealing import ResendConfig, Sealer, SmtpConfig, redact

KEY = bytes(range(32))
SECRET = Secret(base64.b64encode(KEY).decode())
SMTP = SmtpConfig(host="mail.example", port=587, username="pug", password="woof 🐶", use_tls=True)


def sealed_by_another(document: object) -> bytes:
    """A row as the original system writes it: nonce, ciphertext, tag; no associated data."""
    nonce = b"\x07" * 12
    return nonce + AESGCM(KEY).encrypt(nonce, json.dumps(document).encode(), None)


def test_rows_of_the_original_open_here():
    document = {"host": "h", "port": 25, "username": "u", "password": "p", "use_tls": False}
    assert Sealer(SECRET).open_smtp(sealed_by_another(document)) == SmtpConfig(
        host="h", port=25, username="u", password="p", use_tls=False
    )
    assert Sealer(SECRET).open_resend(sealed_by_another({"api_key": "re_1"})) == ResendConfig(
        api_key="re_1"
    )


def test_our_rows_open_there():
    blob = Sealer(SECRET).seal(SMTP)
    plain = AESGCM(KEY).decrypt(blob[:12], blob[12:], None)
    assert json.loads(plain) == {
        "host": "mail.example",
        "port": 587,
        "username": "pug",
        "password": "woof 🐶",
        "use_tls": True,
    }
    assert len(blob) == 12 + len(plain) + 16
    assert Sealer(SECRET).open_smtp(blob) == SMTP


def test_a_fresh_nonce_every_time():
    sealer = Sealer(SECRET)
    assert len({sealer.seal(SMTP)[:12] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"short",
        Sealer(SECRET).seal(SMTP)[:-1],
        bytes(100),
        Sealer(Secret(base64.b64encode(bytes(32)).decode())).seal(SMTP),
        sealed_by_another(["no", "object"]),
        sealed_by_another({"host": "h"}),
        sealed_by_another({"host": "h", "port": "25"}),
    ],
)
def test_what_does_not_open_is_told(blob: bytes):
    with pytest.raises(UnmetError) as caught:
        Sealer(SECRET).open_smtp(blob)
    assert caught.value.reason == "EMAIL_PROVIDER_SECRET_DECRYPT_FAILED"


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        (SMTP, "smtp://pug:***@mail.example:587"),
        (ResendConfig(api_key="re_12345678901"), "re_12345***8901"),
        (ResendConfig(api_key="re_1234567890"), "re_12345***7890"),
        (ResendConfig(api_key="re_123456789"), "***"),
        (ResendConfig(api_key="x"), "***"),
    ],
)
def test_redaction(config: SmtpConfig | ResendConfig, shown: str):
    """[services 6.5]: 8 characters, stars, 4 characters; stars alone up to 12."""
    assert redact(config) == shown
    assert "woof" not in repr(config)
    assert "re_" not in repr(config)
