"""Who signed the release in use, and whether its files are still what was signed.

Invariant: only a sample of the files is hashed, so that the answer comes in seconds. All of them:
`pug-appliance bundle verify`.
"""

from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import ApplianceError
from appliance.lifecycle.layout import MANIFEST_NAME, SIGNATURE_NAME, Layout
from appliance.lifecycle.manifest import FileEntry, decode_manifest
from appliance.lifecycle.release_tree import difference
from appliance.lifecycle.signature import (
    KEY_ID_LENGTH,
    PUBLIC_SUFFIX,
    PublicKey,
    TrustedKeys,
    parse_public_key,
    verify,
)

_SAMPLE_BYTES_MAX: Final = 64 << 20
_PROGRAM: Final = "0755"


class SignatureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The key that signed, or why none is believed; and what a sample of the files says."""

    key: str = ""
    error: str = ""
    bad_keys: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    compared: int = 0


def look_at_signature(layout: Layout) -> SignatureFacts:
    """Who signed the manifest of the release in use, and whether a sample of it is untouched."""
    keys, bad = _keys(layout.trusted_keys)
    folder = layout.current.resolve()
    try:
        content = (folder / MANIFEST_NAME).read_bytes()
        key = verify(content, (folder / SIGNATURE_NAME).read_bytes(), TrustedKeys(keys=keys))
        manifest = decode_manifest(content)
    except OSError as error:
        return SignatureFacts(error=f"{MANIFEST_NAME}: {error.strerror}", bad_keys=bad)
    except ApplianceError as error:
        return SignatureFacts(error=error.message, bad_keys=bad)
    sample = choose_sample(manifest.files)
    return SignatureFacts(
        key=key.id[:KEY_ID_LENGTH],
        bad_keys=bad,
        compared=len(sample),
        differing=tuple(
            entry.path for entry in sample if difference(folder / entry.path, entry) is not None
        ),
    )


def choose_sample(files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    """Files whose hashing fits into seconds: small ones first, programs and libraries before."""
    by_weight = sorted(files, key=lambda entry: (entry.mode != _PROGRAM, entry.size))
    chosen: list[FileEntry] = []
    room = _SAMPLE_BYTES_MAX
    for entry in by_weight:
        if entry.size <= room:
            chosen.append(entry)
            room -= entry.size
    return tuple(chosen)


def _keys(folder: Path) -> tuple[tuple[PublicKey, ...], tuple[str, ...]]:
    """The trusted keys, and the names of files that are none."""
    keys: list[PublicKey] = []
    bad: list[str] = []
    for path in sorted(folder.glob(f"*{PUBLIC_SUFFIX}")):
        try:
            keys.append(parse_public_key(path.read_text("ascii")))
        except (OSError, UnicodeDecodeError, ApplianceError):
            bad.append(path.name)
    return tuple(keys), tuple(bad)
