"""Organisations' mail credentials, encrypted at rest [workers 4.3].

Invariant: the stored form is 12 bytes of nonce, the ciphertext and 16 bytes of tag of AES-256-GCM
without associated data, over a JSON object, so that rows of the original system open here and the
other way round. A fresh nonce for every sealing; what does not open is told apart from nothing.
"""

import base64
from typing import Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from appliance.base.errors import UnmetError
from appliance.base.ids import Randomness, SystemRandomness
from appliance.config.secrets import Secret

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


class SmtpConfig(Struct, frozen=True, kw_only=True):
    """An organisation's mail server as it is stored; never logged."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    use_tls: bool = False

    def __repr__(self) -> str:
        return f"SmtpConfig({self.host}:{self.port})"


class ResendConfig(Struct, frozen=True, kw_only=True):
    """An organisation's account at Resend as it is stored; never logged."""

    api_key: str

    def __repr__(self) -> str:
        return "ResendConfig(…)"


Config = SmtpConfig | ResendConfig
Kind = TypeVar("Kind", SmtpConfig, ResendConfig)


class Sealer:
    """Encrypts and opens credentials with the operator's key."""

    def __init__(self, key: Secret, randomness: Randomness | None = None) -> None:
        self._cipher = AESGCM(base64.b64decode(key.reveal(), validate=True))
        self._randomness = randomness or SystemRandomness()

    def seal(self, config: Config) -> bytes:
        """The stored form."""
        nonce = self._randomness.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, msgspec.json.encode(config), None)

    def open_smtp(self, sealed: bytes) -> SmtpConfig:
        """A mail server; raises UnmetError (`EMAIL_PROVIDER_SECRET_DECRYPT_FAILED`)."""
        return _decode(self._open(sealed), SmtpConfig)

    def open_resend(self, sealed: bytes) -> ResendConfig:
        """An account at Resend; raises UnmetError (`EMAIL_PROVIDER_SECRET_DECRYPT_FAILED`)."""
        return _decode(self._open(sealed), ResendConfig)

    def _open(self, sealed: bytes) -> bytes:
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise unopened()
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except InvalidTag as error:
            raise unopened() from error


def unopened() -> UnmetError:
    """The stored credentials cannot be read."""
    return UnmetError(
        "EMAIL_PROVIDER_SECRET_DECRYPT_FAILED",
        "the stored mail credentials of this organisation cannot be decrypted",
        hint="set the mail provider again, or restore email.provider_secret_key",
    )


def redact(config: Config) -> str:
    """The credentials as they may be shown [services 6.5]."""
    if isinstance(config, SmtpConfig):
        return f"smtp://{config.username}:***@{config.host}:{config.port}"
    key = config.api_key
    shown = 8 + 4
    return f"{key[:8]}***{key[-4:]}" if len(key) > shown else "***"


def _decode(text: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise unopened() from error
