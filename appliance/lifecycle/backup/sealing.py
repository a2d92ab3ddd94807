"""The passphrase of a target: names that tell nothing, contents that only it opens.

Invariant: the key is made from the passphrase with argon2id and the target's own salt; each object
is a stream of its own, so that one cut short, mixed up or changed is refused. Without a passphrase
nothing is sealed, and the names of objects are plain check sums.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from nacl import bindings, pwhash, utils

from appliance.base.errors import ForbiddenError
from appliance.config.secrets import Secret

CHUNK_BYTES: Final = 1 << 20
_KEY_BYTES: Final = 32
_CHECK_TEXT: Final = b"pug-appliance backup target"
_HEADER_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_EXTRA_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_MORE: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_LAST: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL


class SealedTarget(msgspec.Struct, frozen=True, kw_only=True):
    """How the key of a target is made, and how to tell that it is the right one."""

    salt: str
    operations: int = pwhash.argon2id.OPSLIMIT_MODERATE
    memory_bytes: int = pwhash.argon2id.MEMLIMIT_MODERATE
    check: str


class Sealer:
    """Names and contents of the objects of one target."""

    def __init__(self, key: bytes) -> None:
        self._naming = hmac.digest(key, b"names", hashlib.sha256)
        self._content = hmac.digest(key, b"contents", hashlib.sha256)
        self.check = hmac.digest(key, _CHECK_TEXT, hashlib.sha256).hex()

    def name(self, digest: str) -> str:
        """The name of the object with this content."""
        return hmac.digest(self._naming, bytes.fromhex(digest), hashlib.sha256).hex()

    def seal(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Encrypt a stream, cut anew into chunks of one size."""
        state = bindings.crypto_secretstream_xchacha20poly1305_state()
        yield bindings.crypto_secretstream_xchacha20poly1305_init_push(state, self._content)
        held: bytes | None = None
        for chunk in even_chunks(chunks, CHUNK_BYTES):
            if held is not None:
                yield _push(state, held, _MORE)
            held = chunk
        yield _push(state, held or b"", _LAST)

    def unseal(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Decrypt a stream; raises ValueError when it is not what was sealed."""
        even = even_chunks(chunks, CHUNK_BYTES + _EXTRA_BYTES, first=_HEADER_BYTES)
        state = bindings.crypto_secretstream_xchacha20poly1305_state()
        tag = _MORE
        try:
            bindings.crypto_secretstream_xchacha20poly1305_init_pull(
                state, next(even, b""), self._content
            )
            for chunk in even:
                assert tag != _LAST, "more follows the end"
                content, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(state, chunk)
                yield content
        except Exception as error:
            # the library tells a forged chunk by an exception of its own for each cause
            raise ValueError("the object was not sealed with this passphrase") from error
        if tag != _LAST:
            raise ValueError("the end is missing")


def seal_target(passphrase: Secret) -> tuple[SealedTarget, Sealer]:
    """A fresh key for a fresh target."""
    draft = SealedTarget(salt=utils.random(pwhash.argon2id.SALTBYTES).hex(), check="")
    sealer = _derive(draft, passphrase)
    return msgspec.structs.replace(draft, check=sealer.check), sealer


def open_sealed(target: SealedTarget, passphrase: Secret) -> Sealer:
    """The key of a target; raises ForbiddenError for a wrong passphrase."""
    sealer = _derive(target, passphrase)
    if not hmac.compare_digest(sealer.check, target.check):
        raise ForbiddenError(
            "PASSPHRASE_WRONG",
            "this is not the passphrase of the backups",
            hint="name the right file with --passphrase-file or backup.passphrase_file",
        )
    return sealer


def even_chunks(chunks: Iterable[bytes], size: int, *, first: int = 0) -> Iterator[bytes]:
    """The same bytes in chunks of `size`, the very first of another size; the last is shorter."""
    held = bytearray()
    wanted = first or size
    for chunk in chunks:
        held += chunk
        while len(held) >= wanted:
            yield bytes(held[:wanted])
            del held[:wanted]
            wanted = size
    if held:
        yield bytes(held)


def _push(
    state: bindings.crypto_secretstream_xchacha20poly1305_state, chunk: bytes, tag: int
) -> bytes:
    return bindings.crypto_secretstream_xchacha20poly1305_push(state, chunk, None, tag)


def _derive(target: SealedTarget, passphrase: Secret) -> Sealer:
    key = pwhash.argon2id.kdf(
        _KEY_BYTES,
        passphrase.reveal().encode(),
        bytes.fromhex(target.salt),
        opslimit=target.operations,
        memlimit=target.memory_bytes,
    )
    return Sealer(key)
