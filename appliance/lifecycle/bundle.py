"""Open a bundle: believe nothing before its signature, write nothing before it is believed.

Invariant: the signed manifest comes first; from then on every byte of the tarball is known
beforehand, and a file appears in staging only under a name, with a mode and a size the manifest
gives. The form is `archive.py`, the rules of the manifest `manifest.py`; what is done with the
files is `staging.py`, and deltas are `delta.py`.
"""

import hashlib
import threading
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from appliance.lifecycle.archive import (
    ArchiveReader,
    file_header,
    folder_header,
    folders_inside,
    link_header,
    padding_bytes,
)
from appliance.lifecycle.layout import MANIFEST_NAME, SIGNATURE_NAME
from appliance.lifecycle.manifest import (
    MANIFEST_BYTES_MAX,
    FileEntry,
    Manifest,
    decode_manifest,
    refused,
)
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.signature import PublicKey, TrustedKeys, verify

DELTA_NAME: Final = "delta.json"
SBOM_NAME: Final = "sbom.cdx.json"

_SIGNATURE_BYTES_MAX: Final = 4096
_CHUNK_BYTES: Final = 1 << 18
_TOP_BYTES: Final = 100
_TOLD_BYTES: Final = 4 << 20


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is compared with: this machine, and the release that is installed (0: none)."""

    architecture: str
    glibc: str
    release: int = 0
    version: str = ""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The signed beginning of a bundle; `key` made the signature."""

    folder: str
    manifest: Manifest
    manifest_bytes: bytes
    signature_bytes: bytes
    key: PublicKey


class StoppedError(Exception):
    """Nobody waits for the result any more."""


class Sink(Protocol):
    """Who takes the files of a bundle, in the order of the manifest."""

    def begin(self, entry: FileEntry) -> None:
        """A file or link begins."""
        ...

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the file."""
        ...

    def end(self, entry: FileEntry) -> None:
        """The file is complete, and its checksum is right."""
        ...


def read_head(reader: ArchiveReader, trusted: TrustedKeys | None) -> Head:
    """Read folder, manifest and signature, and check them.

    Without `trusted` the bundle is believed by its own key, which proves that it is whole and not
    who made it. Raises BundleRefusedError.
    """
    top = _read_top(reader)
    manifest_bytes = reader.small_file(f"{top}/{MANIFEST_NAME}", limit=MANIFEST_BYTES_MAX)
    signature_bytes = reader.small_file(f"{top}/{SIGNATURE_NAME}", limit=_SIGNATURE_BYTES_MAX)
    if trusted is None:
        trusted = _own_keys(manifest_bytes)
    key = verify(manifest_bytes, signature_bytes, trusted)
    return Head(
        folder=top,
        manifest=decode_manifest(manifest_bytes),
        manifest_bytes=manifest_bytes,
        signature_bytes=signature_bytes,
        key=key,
    )


def _own_keys(manifest_bytes: bytes) -> TrustedKeys:
    keys = decode_manifest(manifest_bytes).keys
    return TrustedKeys(keys=tuple(PublicKey(text=key) for key in keys))


def _read_top(reader: ArchiveReader) -> str:
    head = reader.take(512)
    name = head[:_TOP_BYTES].rstrip(b"\0").decode("ascii", "replace").rstrip("/")
    sound = name and "/" not in name and name.isprintable() and not name.startswith(".")
    if not sound or head != folder_header(name):
        raise refused("BUNDLE_ALTERED", "the bundle does not begin with its folder")
    return name


def judge(manifest: Manifest, machine: Machine) -> None:
    """Refuse a release that does not fit this machine or what is installed on it.

    Raises BundleRefusedError with the reason.
    """
    if manifest.architecture != machine.architecture:
        raise refused(
            "ARCHITECTURE_WRONG",
            f"the bundle is for {manifest.architecture}, this machine is {machine.architecture}",
            hint="get the bundle for this architecture",
        )
    if _numbers(manifest.glibc) > _numbers(machine.glibc):
        raise refused(
            "GLIBC_TOO_OLD",
            f"the bundle needs glibc {manifest.glibc}, this machine has {machine.glibc}",
            hint="upgrade the operating system first",
        )
    if not machine.release:
        return
    if manifest.release < machine.release:
        raise refused(
            "DOWNGRADE",
            f"the bundle is release {manifest.version}, {machine.version} is installed and newer",
            hint="use `pug-appliance rollback` to go back",
        )
    if manifest.release == machine.release:
        raise refused(
            "SAME_RELEASE",
            f"release {machine.version} is installed already",
            hint="nothing needs to be done; `pug-appliance install` repairs an installation",
        )
    if manifest.upgrades_from > machine.release:
        raise refused(
            "UPGRADE_TOO_FAR",
            f"the bundle takes over from release number {manifest.upgrades_from} or later, "
            f"number {machine.release} is installed",
            hint="upgrade to a release in between first",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def read_files(
    reader: ArchiveReader,
    head: Head,
    sink: Sink,
    *,
    progress: Progress,
    stop: threading.Event | None = None,
) -> None:
    """Read every file of a whole bundle, checking all of it.

    Raises BundleRefusedError for the first thing that differs, StoppedError when `stop` is set.
    """
    files = head.manifest.files
    for folder in folders_inside(entry.path for entry in files):
        reader.expect(folder_header(f"{head.folder}/{folder}"), what=f"the folder {folder}")
    meter = Meter(head.manifest.total_bytes, progress, stop)

    def feed(chunk: bytes) -> None:
        sink.feed(chunk)
        meter.add(len(chunk))

    for entry in files:
        expect_entry(reader, head.folder, entry)
        sink.begin(entry)
        if not entry.link:
            take_content(reader, entry, feed)
        sink.end(entry)
    reader.end()


class Meter:
    """Tells how far a reading is, also inside a large file, and ends one nobody waits for."""

    def __init__(self, total: int, progress: Progress, stop: threading.Event | None) -> None:
        self._total = total
        self._progress = progress
        self._stop = stop
        self._done = 0

    def add(self, count: int) -> None:
        """So many bytes more; raises StoppedError when `stop` is set."""
        if self._stop is not None and self._stop.is_set():
            raise StoppedError
        before, self._done = self._done, self._done + count
        if before // _TOLD_BYTES != self._done // _TOLD_BYTES or self._done == self._total:
            self._progress.amount(self._done, self._total)


def expect_entry(reader: ArchiveReader, top: str, entry: FileEntry) -> None:
    """Read the header of a file or link, which must be the one of the manifest's entry."""
    name = f"{top}/{entry.path}"
    if entry.link:
        reader.expect(link_header(name, target=entry.link), what=entry.path)
    else:
        mode = int(entry.mode, 8)
        reader.expect(file_header(name, size=entry.size, mode=mode), what=entry.path)


def take_content(reader: ArchiveReader, entry: FileEntry, feed: Callable[[bytes], None]) -> None:
    """Read the bytes of a file; refuse it when its checksum is another."""
    digest = hashlib.sha256()
    left = entry.size
    while left > 0:
        chunk = reader.some(min(left, _CHUNK_BYTES))
        digest.update(chunk)
        feed(chunk)
        left -= len(chunk)
    reader.expect(bytes(padding_bytes(entry.size)), what=f"the end of {entry.path}")
    if digest.hexdigest() != entry.sha256:
        raise refused("FILE_ALTERED", f"{entry.path} is not as the signed manifest says")
