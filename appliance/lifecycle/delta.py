"""A delta: the signed manifest of a release, and only the files that the base does not have.

Invariant: what comes out is the release its signed manifest describes, bit for bit, or nothing; the
unsigned `delta.json` only says where a file comes from. It lists, in the order of the manifest, the
files the tarball carries: whole ones below `files/`, and below `patches/` those made by zstandard
with a file of the base as its dictionary.
"""

import hashlib
import io
import re
import threading
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec
import zstandard

from appliance.lifecycle.archive import ArchiveReader, file_header, folder_header, padding_bytes
from appliance.lifecycle.bundle import DELTA_NAME, Head, Meter, Sink, take_content
from appliance.lifecycle.layout import MANIFEST_NAME
from appliance.lifecycle.manifest import FileEntry, refused
from appliance.lifecycle.progress import Progress

FORMAT: Final = 1
PATCH_BASE_BYTES_MAX: Final = 64 << 20
WINDOW_LOG: Final = 27
FILES_FOLDER: Final = "files"
PATCHES_FOLDER: Final = "patches"

_DELTA_BYTES_MAX: Final = 16 << 20
_CHUNK_BYTES: Final = 1 << 18
_DELTA_FOLDER: Final = re.compile(r"pug-appliance-[^/]+-from-[^/]+-linux-[a-z0-9_]+")


class Form(StrEnum):
    """How a file is carried."""

    WHOLE = "whole"
    PATCH = "patch"


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One carried file: its path in the release, and for a patch its base and carried bytes."""

    path: str
    form: Form
    base: str = ""
    size: int = 0


class Delta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `delta.json`; `base` is the SHA-256 of the base's `manifest.json`."""

    format: int
    base: str
    base_version: str
    changes: tuple[Change, ...]


class DeltaSink(Sink, Protocol):
    """Who takes the files of the release a delta makes, and knows the sound files of its base."""

    def knows(self, entry: FileEntry) -> bool:
        """Whether the base has this content with this mode; `begin` then takes it from there."""
        ...

    def has_source(self, path: Path) -> bool:
        """Whether this is a verified file of the base."""
        ...


def delta_name(version: str, base_version: str, architecture: str) -> str:
    """The folder in a delta's tarball, and its name without the ending."""
    return f"pug-appliance-{version}-from-{base_version}-linux-{architecture}"


def is_delta(folder: str) -> bool:
    """Whether the folder of a tarball says that it is a delta."""
    return _DELTA_FOLDER.fullmatch(folder) is not None


def encode_delta(delta: Delta) -> bytes:
    """The bytes of `delta.json`."""
    return msgspec.json.encode(delta, order="deterministic") + b"\n"


def apply_delta(
    reader: ArchiveReader,
    head: Head,
    writer: DeltaSink,
    *,
    base: Path | None,
    progress: Progress,
    stop: threading.Event | None = None,
) -> Delta:
    """Write the release: what the delta carries, and links to the base for all the rest.

    The result is what the delta carried.

    Raises BundleRefusedError when the base is not the one the delta was made from, or the result
    would differ from the signed manifest.
    """
    if base is None:
        raise refused(
            "DELTA_NEEDS_BASE",
            "a delta needs the release it was made from",
            hint="use the whole bundle for a first install",
        )
    delta = _read_for(reader, head, base)
    changes = {change.path: change for change in delta.changes}
    meter = Meter(head.manifest.total_bytes, progress, stop)
    for entry in head.manifest.files:
        change = changes.pop(entry.path, None)
        if change is None:
            _take_from_base(writer, entry)
        elif change.form is Form.WHOLE:
            _expect_whole(reader, head, entry)
            writer.begin(entry)
            take_content(reader, entry, writer.feed)
        else:
            _take_patched(reader, head, writer, entry=entry, change=change, base=base)
        writer.end(entry)
        meter.add(entry.size)
    if changes:
        raise refused("DELTA_ALTERED", f"the delta carries {min(changes)!r}, which nobody needs")
    reader.end()
    return delta


def read_carried(
    reader: ArchiveReader,
    head: Head,
    feed: Callable[[str, bytes], None],
    *,
    progress: Progress,
) -> Delta:
    """Check all that can be without the base: whole files entirely, patches by place and size.

    `feed` is told path and bytes of whole files. Raises BundleRefusedError.
    """
    delta = read_delta(reader, head)
    entries = {entry.path: entry for entry in head.manifest.files}
    whole = [one.path for one in delta.changes if one.form is Form.WHOLE]
    total = sum(entries[path].size for path in whole) + sum(one.size for one in delta.changes)
    meter = Meter(total, progress, None)
    for change in delta.changes:
        entry = entries[change.path]
        if change.form is Form.WHOLE:
            _expect_whole(reader, head, entry)
            take_content(reader, entry, partial(feed, entry.path))
            meter.add(entry.size)
        else:
            meter.add(len(_take_packed(reader, head, entry, change)))
    reader.end()
    return delta


def _expect_whole(reader: ArchiveReader, head: Head, entry: FileEntry) -> None:
    name = f"{head.folder}/{FILES_FOLDER}/{entry.path}"
    reader.expect(file_header(name, size=entry.size, mode=int(entry.mode, 8)), what=entry.path)


def _take_packed(reader: ArchiveReader, head: Head, entry: FileEntry, change: Change) -> bytes:
    name = f"{head.folder}/{PATCHES_FOLDER}/{entry.path}"
    if not 0 <= change.size <= max(entry.size, PATCH_BASE_BYTES_MAX):
        raise refused("DELTA_ALTERED", f"the patch of {entry.path} is too large")
    reader.expect(file_header(name, size=change.size, mode=0o644), what=entry.path)
    packed = reader.take(change.size)
    reader.expect(bytes(padding_bytes(change.size)), what=f"the end of {entry.path}")
    return packed


def carried_folders(changes: tuple[Change, ...]) -> list[str]:
    """The folders inside a delta's tarball, sorted."""
    found: set[str] = set()
    for change in changes:
        top = FILES_FOLDER if change.form is Form.WHOLE else PATCHES_FOLDER
        parts = (top, *change.path.split("/")[:-1])
        found |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return sorted(found)


def _read_for(reader: ArchiveReader, head: Head, base: Path) -> Delta:
    delta = read_delta(reader, head)
    if _manifest_digest(base) != delta.base:
        raise refused(
            "DELTA_BASE_WRONG",
            f"the delta was made from release {delta.base_version}, which is not the installed one",
            hint="get the delta for the installed release, or the whole bundle",
        )
    return delta


def _manifest_digest(base: Path) -> str:
    try:
        return hashlib.sha256((base / MANIFEST_NAME).read_bytes()).hexdigest()
    except OSError:
        return ""


def read_delta(reader: ArchiveReader, head: Head) -> Delta:
    """Read what a delta says it carries, and its folders.

    Raises BundleRefusedError when it is not in the one form, or carries what the signed manifest
    does not have.
    """
    content = reader.small_file(f"{head.folder}/{DELTA_NAME}", limit=_DELTA_BYTES_MAX)
    try:
        delta = msgspec.json.decode(content, type=Delta)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused("DELTA_ALTERED", f"{DELTA_NAME} cannot be read: {error}") from error
    if delta.format != FORMAT or encode_delta(delta) != content:
        raise refused("DELTA_ALTERED", f"{DELTA_NAME} is not in the form this release reads")
    files = {entry.path for entry in head.manifest.files if not entry.link}
    paths = [change.path for change in delta.changes]
    if not files.issuperset(paths) or paths != sorted(set(paths)):
        raise refused("DELTA_ALTERED", f"{DELTA_NAME} names other files than the signed manifest")
    for folder in carried_folders(delta.changes):
        reader.expect(folder_header(f"{head.folder}/{folder}"), what=f"the folder {folder}")
    return delta


def _take_from_base(writer: DeltaSink, entry: FileEntry) -> None:
    if not entry.link and not writer.knows(entry):
        raise refused(
            "DELTA_BASE_DAMAGED",
            f"the installed release has no sound {entry.path}",
            hint="use the whole bundle; `pug-appliance doctor` shows what is damaged",
        )
    writer.begin(entry)


def _take_patched(
    reader: ArchiveReader,
    head: Head,
    writer: DeltaSink,
    *,
    entry: FileEntry,
    change: Change,
    base: Path,
) -> None:
    packed = _take_packed(reader, head, entry, change)
    original = _base_file(writer, base, change)
    plain = zstandard.ZstdCompressionDict(original, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    unpack = zstandard.ZstdDecompressor(dict_data=plain, max_window_size=1 << WINDOW_LOG)
    digest = hashlib.sha256()
    written = 0
    writer.begin(entry)
    try:
        with unpack.stream_reader(io.BytesIO(packed)) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                written += len(chunk)
                if written > entry.size:
                    break
                digest.update(chunk)
                writer.feed(chunk)
    except zstandard.ZstdError as error:
        raise refused("DELTA_ALTERED", f"the patch of {entry.path} does not fit") from error
    if written != entry.size or digest.hexdigest() != entry.sha256:
        raise refused("FILE_ALTERED", f"{entry.path} is not as the signed manifest says")


def _base_file(writer: DeltaSink, base: Path, change: Change) -> bytes:
    path = base / change.base
    if not writer.has_source(path) or path.stat().st_size > PATCH_BASE_BYTES_MAX:
        raise refused("DELTA_BASE_DAMAGED", f"the installed release has no sound {change.base}")
    return path.read_bytes()
