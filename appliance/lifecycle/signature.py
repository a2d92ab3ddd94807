"""Who may make bundles: Ed25519 keys, signing, and the set of keys that is trusted.

Invariant: verifying needs the bytes, the signature and the trusted keys: no clock, no network. A
private key is a file of its owner's (mode 0600) and never printed.
"""

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Final

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from appliance.base.errors import ConflictError, InvalidInputError, MisconfiguredError
from appliance.base.files import PRIVATE_FILE, write_atomic
from appliance.config.secrets import load_secret_file
from appliance.lifecycle.manifest import refused

KEY_ID_LENGTH: Final = 16
PUBLIC_SUFFIX: Final = ".pub"
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES_MAX: Final = 4096


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `manifest.sig`: which key, and its signature as base64."""

    key_id: str
    signature: str


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that bundles are checked with: 32 bytes as base64."""

    text: str

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the key's SHA-256."""
        return self.fingerprint[:KEY_ID_LENGTH]

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the key, in hexadecimal digits, for comparing by eye or telephone."""
        return hashlib.sha256(base64.b64decode(self.text)).hexdigest()


class TrustedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys whose bundles are accepted."""

    keys: tuple[PublicKey, ...]

    def find(self, key_id: str) -> PublicKey | None:
        """The trusted key of this id, or None."""
        return next((key for key in self.keys if key.id == key_id), None)


def parse_public_key(text: str) -> PublicKey:
    """A public key from its base64 form.

    Raises InvalidInputError when it is none.
    """
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_key() from error
    if len(raw) != _KEY_BYTES:
        raise _no_key()
    return PublicKey(text=base64.b64encode(raw).decode())


def _no_key() -> InvalidInputError:
    return InvalidInputError(
        "KEY_UNREADABLE",
        "that is no public key",
        hint="a public key is one line of 44 base64 characters, as `signing show` prints it",
    )


def make_key(path: Path) -> PublicKey:
    """Make a private key in a new file (mode 0600); the public half.

    Raises ConflictError when the file exists: a key is never overwritten.
    """
    if path.exists():
        raise ConflictError(
            "KEY_EXISTS", f"{path} exists already", hint="choose another name; keys are kept"
        )
    key = SigningKey.generate()
    write_atomic(path, base64.b64encode(bytes(key)) + b"\n", mode=PRIVATE_FILE)
    return public_half(key)


def load_key(path: Path) -> SigningKey:
    """Read a private key.

    Raises MisconfiguredError when it is missing or others can read it, InvalidInputError when it
    is no key.
    """
    text = load_secret_file(path).reveal()
    try:
        return SigningKey(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(
            "KEY_UNREADABLE",
            f"{path} is no private key",
            hint="make one with `pug-appliance signing keygen`",
        ) from error


def public_half(key: SigningKey) -> PublicKey:
    """What others need to verify with."""
    return PublicKey(text=base64.b64encode(bytes(key.verify_key)).decode())


def sign(key: SigningKey, content: bytes) -> bytes:
    """The bytes of `manifest.sig` over the bytes of `manifest.json`."""
    signature = Signature(
        key_id=public_half(key).id,
        signature=base64.b64encode(key.sign(content).signature).decode(),
    )
    return msgspec.json.encode(signature, order="deterministic") + b"\n"


def verify(content: bytes, signature: bytes, trusted: TrustedKeys) -> PublicKey:
    """Check a signature; the key that made it.

    Raises BundleRefusedError when the key is not trusted or the signature is not its own.
    """
    if len(signature) > _SIGNATURE_BYTES_MAX:
        raise refused("SIGNATURE_UNREADABLE", "the signature cannot be read")
    try:
        parsed = msgspec.json.decode(signature, type=Signature)
        raw = base64.b64decode(parsed.signature, validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise refused("SIGNATURE_UNREADABLE", "the signature cannot be read") from error
    key = trusted.find(parsed.key_id)
    if key is None:
        raise refused(
            "KEY_UNTRUSTED",
            f"the bundle is signed with the key {parsed.key_id[:KEY_ID_LENGTH]}, "
            "which is not trusted here",
            hint="compare its fingerprint with its maker's, then `pug-appliance signing trust`",
        )
    try:
        VerifyKey(base64.b64decode(key.text)).verify(content, raw)
    except (BadSignatureError, ValueError) as error:
        raise refused(
            "SIGNATURE_WRONG", "the signature does not fit the manifest: the bundle was changed"
        ) from error
    return key


def load_trusted_keys(folder: Path) -> TrustedKeys:
    """Every `*.pub` of a folder; none when there is no folder.

    Raises MisconfiguredError naming a file that is no key or cannot be read.
    """
    found: list[PublicKey] = []
    for path in sorted(folder.glob(f"*{PUBLIC_SUFFIX}")):
        try:
            found.append(parse_public_key(path.read_bytes().decode("ascii", "replace")))
        except (OSError, InvalidInputError) as error:
            raise MisconfiguredError(
                "TRUSTED_KEY_UNREADABLE",
                f"the trusted key {path} cannot be read",
                hint="remove the file, or write the key again with `pug-appliance signing trust`",
            ) from error
    return TrustedKeys(keys=tuple(found))
