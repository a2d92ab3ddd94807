"""Secrets of webhooks, encrypted at rest with the key that mail credentials use.

Invariant: the stored form is 12 bytes of nonce, the ciphertext and 16 bytes of tag of AES-256-GCM,
bound to the webhook's id, so that a row copied to another webhook does not open. A fresh nonce for
every sealing; a secret is told once, when it is made, and stored only so.
"""

import base64
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.base.errors import UnmetError
from appliance.base.ids import Randomness, SystemRandomness
from appliance.config.secrets import Secret

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SECRET_BYTES: Final = 32
_CONTEXT: Final = "alert-webhook:"


class SecretSealer:
    """Encrypts and opens secrets with the operator's key; without a key it can do neither."""

    def __init__(self, key: Secret | None, randomness: Randomness | None = None) -> None:
        self._cipher = (
            AESGCM(base64.b64decode(key.reveal(), validate=True)) if key is not None else None
        )
        self._randomness = randomness or SystemRandomness()

    def require_key(self) -> None:
        """Return when secrets can be kept; raises UnmetError (`ALERT_SECRET_KEY_MISSING`)."""
        self._opened()

    def make_secret(self) -> str:
        """A fresh secret, as hexadecimal text."""
        return self._randomness.token_bytes(SECRET_BYTES).hex()

    def seal(self, webhook_id: str, secret: str) -> bytes:
        """The stored form of a secret."""
        nonce = self._randomness.token_bytes(NONCE_BYTES)
        return nonce + self._opened().encrypt(nonce, secret.encode(), _context(webhook_id))

    def open(self, webhook_id: str, sealed: bytes) -> str:
        """A secret; raises UnmetError (`WEBHOOK_SECRET_DECRYPT_FAILED`)."""
        cipher = self._opened()
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise _unopened()
        nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, text, _context(webhook_id)).decode()
        except (InvalidTag, UnicodeDecodeError) as error:
            raise _unopened() from error

    def _opened(self) -> AESGCM:
        if self._cipher is None:
            raise UnmetError(
                "ALERT_SECRET_KEY_MISSING",
                "webhooks are switched off on this installation: their secrets cannot be kept",
                hint="set email.provider_secret_key",
            )
        return self._cipher


def _context(webhook_id: str) -> bytes:
    return (_CONTEXT + webhook_id).encode()


def _unopened() -> UnmetError:
    return UnmetError(
        "WEBHOOK_SECRET_DECRYPT_FAILED",
        "the stored secret of this webhook cannot be decrypted",
        hint="make the webhook anew, or restore email.provider_secret_key",
    )
