"""Making a delta: the files of a release that an older bundle does not have, small.

Invariant: the format is `appliance/lifecycle/delta.py`'s, which applies it; a patch is kept only
when it was turned back into the wanted bytes here, so a delta that cannot be applied is never made.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from appliance.lifecycle.bundle import DELTA_NAME
from appliance.lifecycle.delta import (
    FILES_FOLDER,
    FORMAT,
    PATCH_BASE_BYTES_MAX,
    PATCHES_FOLDER,
    WINDOW_LOG,
    Change,
    Delta,
    Form,
    encode_delta,
)
from appliance.lifecycle.manifest import FileEntry, Manifest, decode_manifest
from bundle.places import MANIFEST, Entry

# Level 19 takes twenty seconds longer for the executable and saves 2 kB; long-distance matching
# makes it larger.
_LEVEL: Final = 12


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The release a delta starts from: its manifest, and the files that may be patched."""

    manifest: Manifest
    digest: str
    contents: dict[str, bytes]


def read_base(bundle: Path, wanted: Sequence[FileEntry]) -> Base:
    """Read an older bundle, and of its files those that differ from `wanted`.

    Raises ValueError for a file that is no bundle, BundleRefusedError for an unsound manifest.
    """
    try:
        return _read_base(bundle, {entry.path: entry.sha256 for entry in wanted})
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{bundle} cannot be read: {error}") from error


def _read_base(bundle: Path, digests: dict[str, str]) -> Base:
    contents: dict[str, bytes] = {}
    with tarfile.open(bundle, "r:gz") as archive:
        members = iter(archive)
        next(members, None)
        first = next(members, None)
        if first is None or not first.name.endswith(f"/{MANIFEST}"):
            raise ValueError(f"{bundle} is no whole bundle: it does not begin with a manifest")
        declared = _content(archive, first)
        manifest = decode_manifest(declared)
        known = {entry.path: entry for entry in manifest.files if not entry.link}
        for member in members:
            path = member.name.partition("/")[2]
            before = known.get(path)
            if before is None or before.size > PATCH_BASE_BYTES_MAX:
                continue
            if digests.get(path, before.sha256) != before.sha256:
                contents[path] = _content(archive, member)
    return Base(manifest=manifest, digest=hashlib.sha256(declared).hexdigest(), contents=contents)


def delta_entries(base: Base, files: Sequence[Entry]) -> tuple[Entry, list[Entry]]:
    """`delta.json`, and what it says the tarball carries."""
    known = {(entry.sha256, entry.mode) for entry in base.manifest.files if not entry.link}
    changes: list[Change] = []
    carried: list[Entry] = []
    for entry in files:
        if entry.link is not None:
            continue
        content = entry.read()
        if (hashlib.sha256(content).hexdigest(), f"{entry.mode:04o}") in known:
            continue
        packed = _patch(base.contents.get(entry.path), content)
        if packed is None:
            changes.append(Change(path=entry.path, form=Form.WHOLE))
            carried.append(_carried(FILES_FOLDER, entry, content, entry.mode))
        else:
            changes.append(
                Change(path=entry.path, form=Form.PATCH, base=entry.path, size=len(packed))
            )
            carried.append(_carried(PATCHES_FOLDER, entry, packed, 0o644))
    delta = Delta(
        format=FORMAT,
        base=base.digest,
        base_version=base.manifest.version,
        changes=tuple(changes),
    )
    described = Entry(path=DELTA_NAME, component="pug-appliance", content=encode_delta(delta))
    return described, carried


def _carried(folder: str, entry: Entry, content: bytes, mode: int) -> Entry:
    return Entry(
        path=f"{folder}/{entry.path}", component=entry.component, mode=mode, content=content
    )


def _patch(original: bytes | None, content: bytes) -> bytes | None:
    """The content told by what the original has; None when that is no gain."""
    if original is None or len(content) > PATCH_BASE_BYTES_MAX:
        return None
    dictionary = zstandard.ZstdCompressionDict(original, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    settings = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, window_log=WINDOW_LOG, write_content_size=True
    )
    packed = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=settings).compress(
        content
    )
    unpack = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=1 << WINDOW_LOG)
    if len(packed) >= len(content) or unpack.decompress(packed) != content:
        return None
    return packed


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, member.name
    return file.read()
