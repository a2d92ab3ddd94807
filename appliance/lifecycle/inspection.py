"""Look at a bundle without installing it: check all of it, keep its bill of materials.

Invariant: nothing is written. What `verify_bundle` accepts, `staging.stage` accepts too, but
the patches of a delta can only be tried with the release they were made from.
"""

from pathlib import Path
from typing import Final

import msgspec

from appliance.lifecycle.archive import ArchiveReader, open_archive
from appliance.lifecycle.bundle import SBOM_NAME, Head, read_files, read_head
from appliance.lifecycle.delta import Delta, apply_delta, is_delta, read_carried
from appliance.lifecycle.manifest import FileEntry, refused
from appliance.lifecycle.progress import Progress, SilentProgress
from appliance.lifecycle.release_tree import KnownFiles, known_files
from appliance.lifecycle.signature import TrustedKeys

BILL_BYTES_MAX: Final = 64 << 20


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that is whole: its signed head, its bill of materials, and for a delta its list.

    `complete` is false for a delta that was checked without its base.
    """

    head: Head
    bill: bytes = b""
    delta: Delta | None = None
    complete: bool = True


def verify_bundle(
    path: Path,
    *,
    trusted: TrustedKeys | None,
    base: Path | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Check a whole bundle without writing anything.

    Without `trusted` it is believed by its own key: that proves it is whole, not who made it.
    `base` is the release folder a delta was made from. Raises BundleRefusedError.
    """
    shown = progress or SilentProgress()
    with open_archive(path) as file:
        reader = ArchiveReader(file)
        head = read_head(reader, trusted)
        if not is_delta(head.folder):
            sink = _Reading()
            read_files(reader, head, sink, progress=shown)
            return Inspection(head=head, bill=bytes(sink.bill))
        if base is None:
            bill = _Bill()
            delta = read_carried(reader, head, bill.feed, progress=shown)
            return Inspection(head=head, bill=bytes(bill.content), delta=delta, complete=False)
        trial = _Trying(known_files(base))
        delta = apply_delta(reader, head, trial, base=base, progress=shown)
        return Inspection(head=head, bill=bytes(trial.bill), delta=delta)


def peek_bundle(path: Path, *, trusted: TrustedKeys | None) -> Head:
    """Only the signed beginning of a bundle, which takes no time; the files are not checked.

    Raises BundleRefusedError.
    """
    with open_archive(path) as file:
        return read_head(ArchiveReader(file), trusted)


class _Bill:
    """Keeps the bill of materials of what passes by."""

    def __init__(self) -> None:
        self.content = bytearray()

    def feed(self, path: str, chunk: bytes) -> None:
        if path != SBOM_NAME:
            return
        self.content += chunk
        if len(self.content) > BILL_BYTES_MAX:
            raise refused("BILL_TOO_LARGE", f"{SBOM_NAME} is larger than {BILL_BYTES_MAX} bytes")


class _Reading:
    """Takes the files of a bundle and keeps none."""

    def __init__(self) -> None:
        self._bill = _Bill()
        self._path = ""

    @property
    def bill(self) -> bytearray:
        return self._bill.content

    def begin(self, entry: FileEntry) -> None:
        self._path = entry.path

    def feed(self, chunk: bytes) -> None:
        self._bill.feed(self._path, chunk)

    def end(self, entry: FileEntry) -> None:
        del entry


class _Trying(_Reading):
    """Takes the files of a delta and keeps none, but knows those of the base."""

    def __init__(self, known: KnownFiles) -> None:
        super().__init__()
        self._known = known

    def knows(self, entry: FileEntry) -> bool:
        return (entry.sha256, entry.mode) in self._known.by_content

    def has_source(self, path: Path) -> bool:
        return path in self._known.paths
