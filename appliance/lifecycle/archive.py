"""The form of a bundle's tarball: one strict form, made and read by the same few rules.

Invariant: every byte of the tar stream follows from what it carries. A reader therefore never
interprets a header: it builds the header it expects and compares. What differs is refused, whatever
trick it might have been: links, devices, sparse files, other names, other modes, other orders.

The order is: the folder, `manifest.json`, `manifest.sig`, the folders inside, the files by path.
"""

import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from appliance.lifecycle.manifest import BundleRefusedError, refused

BLOCK_BYTES: Final = tarfile.BLOCKSIZE
GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
END: Final = bytes(2 * BLOCK_BYTES)
# Never in the future of a clock that is wrong: the first instant of 1980, as in zip files.
MEMBER_TIME: Final = 315_532_800
FOLDER_MODE: Final = 0o755

_READ_BYTES: Final = 1 << 18
_SIZE_FIELD: Final = slice(124, 136)


def folder_header(name: str) -> bytes:
    """The header of a folder."""
    return _header(name, kind=tarfile.DIRTYPE, mode=FOLDER_MODE)


def file_header(name: str, *, size: int, mode: int) -> bytes:
    """The header of a file of `size` bytes, which follow, filled up to a block."""
    return _header(name, kind=tarfile.REGTYPE, mode=mode, size=size)


def link_header(name: str, *, target: str) -> bytes:
    """The header of a symbolic link."""
    return _header(name, kind=tarfile.SYMTYPE, mode=0o777, link=target)


def padding_bytes(size: int) -> int:
    """How many zero bytes follow a file of `size` bytes."""
    return -size % BLOCK_BYTES


def folders_inside(paths: Iterable[str]) -> list[str]:
    """Every folder that these relative paths need, sorted."""
    found: set[str] = set()
    for path in paths:
        parts = path.split("/")[:-1]
        found |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return sorted(found)


def _header(name: str, *, kind: bytes, mode: int, size: int = 0, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = mode
    member.size = size
    member.linkname = link
    member.mtime = MEMBER_TIME
    member.uname = member.gname = "root"
    return member.tobuf(format=tarfile.GNU_FORMAT, encoding="utf-8")


class ArchiveReader:
    """The tar stream of a bundle, read once from beginning to end."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises BundleRefusedError when the file is no bundle."""
        self._file = file
        if file.read(len(GZIP_HEADER)) != GZIP_HEADER:
            raise refused("BUNDLE_UNREADABLE", "the file is not a bundle of the appliance")
        file.seek(0)
        self._inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._ready = b""
        self.read_bytes = 0

    def expect(self, content: bytes, *, what: str) -> None:
        """Read exactly these bytes; `what` names them in the refusal."""
        if self.take(len(content)) != content:
            raise refused("BUNDLE_ALTERED", f"{what} is not where the bundle must have it")

    def take(self, count: int) -> bytes:
        """The next bytes, exactly as many; for small pieces."""
        pieces: list[bytes] = []
        while count > 0:
            piece = self.some(count)
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def some(self, limit: int) -> bytes:
        """At least one and at most `limit` bytes.

        Raises BundleRefusedError at the end of the stream and for damage.
        """
        while not self._ready:
            if self._inflate.eof:
                raise refused("BUNDLE_TRUNCATED", "the bundle ends too early")
            self._fill()
        piece, self._ready = self._ready[:limit], self._ready[limit:]
        return piece

    def small_file(self, name: str, *, limit: int) -> bytes:
        """A file of the bundle's own whose size is not known before: its header tells it."""
        head = self.take(BLOCK_BYTES)
        try:
            size = int(head[_SIZE_FIELD].rstrip(b"\0 "), 8)
        except ValueError as error:
            raise refused("BUNDLE_ALTERED", f"{name} is not where it must be") from error
        if not 0 <= size <= limit or head != file_header(name, size=size, mode=0o644):
            raise refused("BUNDLE_ALTERED", f"{name} is not where the bundle must have it")
        content = self.take(size)
        self.expect(bytes(padding_bytes(size)), what=f"the end of {name}")
        return content

    def end(self) -> None:
        """Read the end of the stream; nothing may follow it."""
        self.expect(END, what="the end")
        while not self._inflate.eof and not self._ready:
            self._fill()
        if self._ready or self._inflate.unused_data or self._file.read(1):
            raise refused("BUNDLE_SURPLUS", "something follows the end of the bundle")

    def _fill(self) -> None:
        source = self._inflate.unconsumed_tail or self._read()
        try:
            self._ready = self._inflate.decompress(source, _READ_BYTES)
        except zlib.error as error:
            raise refused("BUNDLE_DAMAGED", f"the bundle cannot be unpacked: {error}") from error
        # At the end of the file the decoder may still hold a little; when not, the end is missing.
        if not source and not self._ready and not self._inflate.eof:
            raise refused("BUNDLE_TRUNCATED", "the bundle ends too early")

    def _read(self) -> bytes:
        try:
            content = self._file.read(_READ_BYTES)
        except OSError as error:
            raise _unreadable(error) from error
        self.read_bytes += len(content)
        return content


def open_archive(path: Path) -> BinaryIO:
    """Open a bundle; it is never followed to a device or a pipe.

    Raises BundleRefusedError when it cannot be read.
    """
    try:
        if not path.is_file():
            raise refused(
                "BUNDLE_MISSING", f"there is no file {path}", hint="name the bundle's .tar.gz file"
            )
        return path.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> BundleRefusedError:
    return refused(
        "BUNDLE_UNREADABLE",
        f"the bundle cannot be read: {error.strerror or error}",
        hint="check the medium it lies on; copy it to this machine and try again",
    )
