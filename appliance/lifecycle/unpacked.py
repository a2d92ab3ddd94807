"""The unpacked bundle an install begins from: its signed manifest, and whose key signed it.

Invariant: the manifest is read once and believed only with its signature. A key is believed when
the operator named it or an earlier install trusts it; a first install believes the bundle's own and
says so. The files are verified while they are copied (`release_copy.py`).
"""

from pathlib import Path

import msgspec

from appliance.base.errors import NotFoundError
from appliance.lifecycle.layout import MANIFEST_NAME, SIGNATURE_NAME
from appliance.lifecycle.manifest import MANIFEST_BYTES_MAX, Manifest, decode_manifest, refused
from appliance.lifecycle.signature import (
    PublicKey,
    TrustedKeys,
    load_trusted_keys,
    parse_public_key,
    verify,
)

_SIGNATURE_BYTES_MAX = 4096


class UnpackedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A folder whose manifest is believed; `sealed` has the bytes of manifest and signature."""

    folder: Path
    manifest: Manifest
    sealed: dict[str, bytes]
    key: PublicKey
    first_trust: bool
    """Nobody vouched for the key: it came with the bundle."""


def open_unpacked(folder: Path, *, pinned: Path | None, trusted_keys: Path) -> UnpackedBundle:
    """Read and check the manifest of an unpacked bundle.

    `pinned` is a file with the only key to accept. Raises NotFoundError when there is no bundle and
    BundleRefusedError when its key is not trusted or its signature is wrong.
    """
    content = _read(folder / MANIFEST_NAME, limit=MANIFEST_BYTES_MAX)
    signature = _read(folder / SIGNATURE_NAME, limit=_SIGNATURE_BYTES_MAX)
    trusted = _choose_keys(pinned, trusted_keys)
    first = not trusted.keys
    if first:
        # Decoded before it is believed only to learn the key it is then checked with.
        own = decode_manifest(content).keys
        trusted = TrustedKeys(keys=tuple(parse_public_key(key) for key in own))
    key = verify(content, signature, trusted)
    return UnpackedBundle(
        folder=folder,
        manifest=decode_manifest(content),
        sealed={MANIFEST_NAME: content, SIGNATURE_NAME: signature},
        key=key,
        first_trust=first,
    )


def _choose_keys(pinned: Path | None, trusted_keys: Path) -> TrustedKeys:
    if pinned is not None:
        return TrustedKeys(keys=(parse_public_key(pinned.read_text(encoding="utf-8")),))
    return load_trusted_keys(trusted_keys)


def _read(path: Path, *, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise NotFoundError(
            "BUNDLE_MISSING",
            f"{path.parent} is no unpacked bundle: {path.name} cannot be read",
            hint="unpack the tarball and run `./pug-appliance install` in its folder",
        ) from error
    if len(content) > limit:
        raise refused("MANIFEST_TOO_LARGE", f"{path.name} has more than {limit} bytes")
    return content
