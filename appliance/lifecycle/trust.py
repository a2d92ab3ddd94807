"""The folder of trusted keys, and how they change: by the operator, by a release, by a rotation.

Invariant: a key is trusted when the operator said so, or when something says so that is signed with
a key trusted already; a change never leaves nothing that is trusted. `signature.py` has the keys
themselves.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from nacl.signing import SigningKey

from appliance.base.errors import (
    ConflictError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
)
from appliance.base.files import unwritable, write_atomic
from appliance.lifecycle.layout import PUBLIC_FILE
from appliance.lifecycle.signature import (
    PUBLIC_SUFFIX,
    PublicKey,
    TrustedKeys,
    load_trusted_keys,
    parse_public_key,
    sign,
    verify,
)

FORMAT: Final = 1
ROTATION_KIND: Final = "pug-appliance-key-rotation"
ROTATION_BYTES_MAX: Final = 16 << 10
KEYS_MAX: Final = 16


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a maker of bundles says about his keys: trust `added`, no longer trust `retired`."""

    kind: str
    format: int
    added: tuple[str, ...]
    retired: tuple[str, ...]


class SignedRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a rotation file: the exact text that is signed, and its signature."""

    statement: str
    signature: str


class TrustChange(msgspec.Struct, frozen=True, kw_only=True):
    """What has become trusted, and what is no longer."""

    added: tuple[PublicKey, ...] = ()
    removed: tuple[PublicKey, ...] = ()


def adopt_keys(folder: Path, *, leaving: Iterable[str], wanted: Iterable[str]) -> TrustChange:
    """Trust the keys that a verified release names for the next upgrade.

    `leaving` are the keys of the manifest of the release that was in use, `wanted` those of the
    release that takes over; a key of the former that the latter does not name is no longer trusted.
    Keys the operator added stay. A release that names none changes nothing. Safe to repeat.

    Raises MisconfiguredError when the folder cannot be written.
    """
    after = {key.id: key for key in map(parse_public_key, wanted)}
    if not after:
        return TrustChange()
    retired = [key for key in map(parse_public_key, leaving) if key.id not in after]
    return change_trust(folder, added=after.values(), retired=retired)


def change_trust(
    folder: Path, *, added: Iterable[PublicKey], retired: Iterable[PublicKey]
) -> TrustChange:
    """Add keys, then take others away; the additions come first, so that one is always left.

    Raises ConflictError when nothing would be left, MisconfiguredError when the folder cannot be
    written.
    """
    there = {key.id: key for key in load_trusted_keys(folder).keys}
    fresh = {key.id: key for key in added}
    gone = {key.id: key for key in retired if key.id in there and key.id not in fresh}
    if not fresh and gone and not there.keys() - gone.keys():
        raise ConflictError(
            "LAST_KEY",
            "that is the last key that is trusted; no bundle would be accepted any more",
            hint="trust another key first",
        )
    for key in fresh.values():
        if key.id not in there:
            write_key(folder / f"{key.id}{PUBLIC_SUFFIX}", key)
    if gone:
        _remove_files(folder, set(gone))
    return TrustChange(
        added=tuple(key for key in fresh.values() if key.id not in there),
        removed=tuple(gone.values()),
    )


def write_key(path: Path, key: PublicKey) -> None:
    """Write a public key as one line; everybody may read it."""
    write_atomic(path, f"{key.text}\n".encode(), mode=PUBLIC_FILE)


def read_key(path: Path) -> PublicKey:
    """A public key from a file.

    Raises NotFoundError when there is no file, InvalidInputError when it holds no key.
    """
    try:
        with path.open("rb") as file:
            text = file.read(ROTATION_BYTES_MAX).decode("ascii", "replace")
    except OSError as error:
        raise NotFoundError(
            "KEY_MISSING",
            f"the key {path} cannot be read: {error.strerror}",
            hint="name a file that `pug-appliance signing show` has written",
        ) from error
    return parse_public_key(text)


def make_rotation(
    key: SigningKey, *, added: Iterable[PublicKey], retired: Iterable[PublicKey] = ()
) -> bytes:
    """The bytes of a rotation file, signed with a key that is trusted already.

    Raises InvalidInputError when it would say nothing, or retire what it adds.
    """
    fresh, gone = [one.text for one in added], [one.text for one in retired]
    if not fresh or set(fresh) & set(gone) or len(fresh) + len(gone) > KEYS_MAX:
        raise InvalidInputError(
            "ROTATION_UNSOUND",
            "a rotation adds at least one key, and retires none that it adds",
            hint="name other keys",
        )
    statement = msgspec.json.encode(
        Rotation(
            kind=ROTATION_KIND, format=FORMAT, added=tuple(sorted(fresh)), retired=tuple(gone)
        ),
        order="deterministic",
    )
    signed = SignedRotation(
        statement=statement.decode(), signature=sign(key, statement).decode().strip()
    )
    return msgspec.json.encode(signed, order="deterministic") + b"\n"


def read_rotation(content: bytes, trusted: TrustedKeys) -> Rotation:
    """Check a rotation file.

    Raises BundleRefusedError when its key is not trusted or its signature is wrong, and
    InvalidInputError when it is no rotation.
    """
    try:
        signed = msgspec.json.decode(content, type=SignedRotation)
        statement = signed.statement.encode()
        verify(statement, signed.signature.encode(), trusted)
        rotation = msgspec.json.decode(statement, type=Rotation)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _no_rotation() from error
    if rotation.kind != ROTATION_KIND or rotation.format != FORMAT:
        raise _no_rotation()
    return rotation


def apply_rotation(folder: Path, content: bytes) -> TrustChange:
    """Believe a rotation file because a key that is trusted has signed it.

    Raises like `read_rotation` and `change_trust`.
    """
    rotation = read_rotation(content, load_trusted_keys(folder))
    return change_trust(
        folder,
        added=tuple(map(parse_public_key, rotation.added)),
        retired=tuple(map(parse_public_key, rotation.retired)),
    )


def is_rotation(content: bytes) -> bool:
    """Whether a file is meant as a rotation; whether it is a sound one is asked later."""
    return content.lstrip().startswith(b"{")


def fits(key: PublicKey, fingerprint: str) -> bool:
    """Whether somebody's fingerprint is this key's; blanks, colons and case do not count."""
    told = "".join(fingerprint.replace(":", " ").split()).lower()
    return told == key.fingerprint


def _remove_files(folder: Path, ids: set[str]) -> None:
    for path in sorted(folder.glob(f"*{PUBLIC_SUFFIX}")):
        if read_key(path).id in ids:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error


def need_writable(folder: Path) -> None:
    """Raises MisconfiguredError when there is no folder of trusted keys."""
    if not folder.is_dir():
        raise MisconfiguredError(
            "TRUST_MISSING",
            f"there is no folder {folder}",
            hint="install the appliance first, or name the folder with --trusted-keys",
        )


def _no_rotation() -> InvalidInputError:
    return InvalidInputError(
        "ROTATION_UNREADABLE",
        "that is no rotation of keys",
        hint="use the file that `pug-appliance signing rotate` has written",
    )
