"""What only the passphrase opens."""

import msgspec
import pytest
from nacl import pwhash

from appliance.base.errors import ForbiddenError
from appliance.config.secrets import Secret
from appliance.lifecycle.backup.sealing import (
    CHUNK_BYTES,
    SealedTarget,
    Sealer,
    even_chunks,
    open_sealed,
)

KEY = bytes(range(32))


def cheap(passphrase: str) -> tuple[SealedTarget, Sealer]:
    """A target whose key is made quickly."""
    draft = SealedTarget(
        salt="00" * 16,
        operations=pwhash.argon2id.OPSLIMIT_MIN,
        memory_bytes=pwhash.argon2id.MEMLIMIT_MIN,
        check="",
    )
    with pytest.raises(ForbiddenError):
        open_sealed(draft, Secret(passphrase))
    key = pwhash.argon2id.kdf(
        32,
        passphrase.encode(),
        bytes(16),
        opslimit=draft.operations,
        memlimit=draft.memory_bytes,
    )
    sealer = Sealer(key)
    return msgspec.structs.replace(draft, check=sealer.check), sealer


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 17])
def test_sealed_is_opened(size: int) -> None:
    """Whatever its length; the text itself does not show."""
    content = (b"secret sentence " * (size // 16 + 1))[:size]
    sealed = b"".join(Sealer(KEY).seal([content[:7], content[7:]]))
    assert size < 16 or b"secret sentence" not in sealed
    assert b"".join(Sealer(KEY).unseal([sealed[:3], sealed[3:]])) == content


def test_changed_cut_or_mixed_is_refused() -> None:
    """Any bit, any missing end, any exchanged chunk."""
    sealed = b"".join(Sealer(KEY).seal([b"x" * (CHUNK_BYTES + 50)]))
    chunks = list(even_chunks([sealed], CHUNK_BYTES + 17, first=24))
    flipped = bytearray(sealed)
    flipped[len(sealed) // 2] ^= 4
    for bad in (
        bytes(flipped),
        sealed[:-1],
        b"".join(chunks[:2]),
        b"".join([chunks[0], chunks[2], chunks[1]]),
        sealed + b"more",
        b"",
    ):
        with pytest.raises(ValueError, match=r"sealed|missing"):
            b"".join(Sealer(KEY).unseal([bad]))


def test_another_key_opens_nothing() -> None:
    """And names other objects."""
    sealed = b"".join(Sealer(KEY).seal([b"content"]))
    other = Sealer(bytes(32))
    with pytest.raises(ValueError, match="sealed"):
        b"".join(other.unseal([sealed]))
    digest = "ab" * 32
    assert other.name(digest) != Sealer(KEY).name(digest) != digest


def test_the_passphrase_is_checked_first() -> None:
    """So a typing error is told as such."""
    target, sealer = cheap("right")
    assert open_sealed(target, Secret("right")).check == sealer.check
    with pytest.raises(ForbiddenError, match="not the passphrase"):
        open_sealed(target, Secret("wrong"))
