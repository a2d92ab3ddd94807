"""Files of events, read record by record: JSON lines, CSV, and rows that a reader of tables sends.

Invariant: at most one record is held beyond those handed out, and a record is bounded; a line that
cannot be read is handed out as a problem, and reading goes on behind it. Everything here blocks and
belongs into a thread. What a record means is decided in `domain/moving/`.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

import msgspec
import zstandard
from msgspec import Struct

from appliance.base.errors import InvalidInputError, NotFoundError
from appliance.domain.moving.records import Record

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LINE_BYTES_MAX: Final = 8 << 20
CELL_CHARACTERS_MAX: Final = 4 << 20
COLUMNS_MAX: Final = 10_000
_WINDOW_BYTES_MAX: Final = 128 << 20
_PACKED_BYTES: Final = 4096
"""Unpacked at once; little, because a few bytes may stand for many."""
_BUFFER_BYTES: Final = 1 << 20
_MARK: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
_ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"


class FileFormat(StrEnum):
    """How the records stand in the file."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_ENDINGS: Final = {
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".json": FileFormat.JSONL,
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
}
_PACKED: Final = frozenset({".gz", ".zst"})


class FileRecord(Struct, frozen=True):
    """One record: its number in the file from 1 on, and what it is or why it is none."""

    number: int
    text: bytes
    record: Record | None = None
    problem: str = ""


class RecordSource(Protocol):
    """Records of one file, in order."""

    def skip(self, count: int) -> int:
        """Pass over the records up to this number; the number reached, less when the file ends."""
        ...

    def read(self, count: int) -> list[FileRecord]:
        """The next records; none at the end. Raises InvalidInputError for a damaged file."""
        ...


def find_format(path: Path) -> FileFormat:
    """The format that a file's name tells; raises InvalidInputError when it tells none."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in _PACKED:
        endings.pop()
    found = _ENDINGS.get(endings[-1]) if endings else None
    if found is None:
        raise InvalidInputError(
            "FORMAT_UNKNOWN",
            f"the name of {path} does not tell its format",
            hint="name it with --format jsonl, csv or parquet",
        )
    return found


@contextmanager
def open_file(path: Path) -> Generator[tuple[BinaryIO, BinaryIO]]:
    """The file, and its content unpacked: gzip and Zstandard are told by their first bytes.

    Raises NotFoundError or InvalidInputError when it cannot be read.
    """
    try:
        raw = path.open("rb")
    except FileNotFoundError as error:
        raise NotFoundError("FILE_MISSING", f"there is no file {path}") from error
    except OSError as error:
        raise InvalidInputError("FILE_UNREADABLE", f"cannot read {path}: {error}") from error
    with raw:
        if not raw.seekable():
            raise InvalidInputError(
                "FILE_UNREADABLE", f"{path} is no regular file", hint="write it to the disk first"
            )
        yield raw, _unpacked(raw)


def _unpacked(raw: BinaryIO) -> BinaryIO:
    begin = raw.read(4)
    raw.seek(0)
    if begin.startswith(_GZIP):
        return cast("BinaryIO", io.BufferedReader(gzip.GzipFile(fileobj=raw), _BUFFER_BYTES))
    if begin == _ZSTANDARD:
        return cast("BinaryIO", io.BufferedReader(_Zstandard(raw), _BUFFER_BYTES))
    return raw


class _Zstandard(io.RawIOBase):
    """The content of frames one after the other; the library's own reader takes a file that was
    cut for one that ends.
    """

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._rest = b""
        self._unpacked = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Raises EOFError when a frame is not complete."""
        target = memoryview(buffer).cast("B")
        while not self._unpacked:
            if not self._unpack():
                return 0
        taken = self._unpacked[: len(target)]
        self._unpacked = self._unpacked[len(target) :]
        target[: len(taken)] = taken
        return len(taken)

    def _unpack(self) -> bool:
        packed = self._rest or self._packed.read(_PACKED_BYTES)
        if not packed:
            if self._frame is not None:
                raise EOFError("the packed file ends too early")
            return False
        self._frame = self._frame or self._unpacker.decompressobj()
        self._unpacked = self._frame.decompress(packed)
        self._rest = b""
        if self._frame.eof:
            self._rest = self._frame.unused_data
            self._frame = None
        return True


@contextmanager
def _damage() -> Generator[None]:
    try:
        yield
    except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
        raise InvalidInputError(
            "FILE_DAMAGED", f"the file cannot be read to its end: {error}"
        ) from error


class JsonLines:
    """One JSON object a line; `begin` lines of the file lie before the content."""

    def __init__(self, content: BinaryIO, *, begin: int = 0) -> None:
        self._content = content
        self._number = begin

    def skip(self, count: int) -> int:
        """Pass over the lines up to this number."""
        while self._number < count and self._line() is not None:
            pass
        return self._number

    def read(self, count: int) -> list[FileRecord]:
        """The next lines; empty ones count, and are no problem."""
        found: list[FileRecord] = []
        while len(found) < count:
            line = self._line()
            if line is None:
                break
            found.append(self._parse(line))
        return found

    def _line(self) -> bytes | None:
        with _damage():
            line = self._content.readline(LINE_BYTES_MAX + 1)
            if not line:
                return None
            rest = line
            while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
                rest = self._content.readline(LINE_BYTES_MAX + 1)
        self._number += 1
        return line.removeprefix(_MARK) if self._number == 1 else line

    def _parse(self, line: bytes) -> FileRecord:
        if len(line) > LINE_BYTES_MAX:
            problem = f"the line is longer than {LINE_BYTES_MAX} bytes"
            return FileRecord(self._number, line, None, problem)
        line = line.strip()
        if not line:
            return FileRecord(self._number, line)
        try:
            record = cast("object", msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return FileRecord(self._number, line, None, f"the line is not JSON: {error}")
        if not isinstance(record, dict):
            return FileRecord(self._number, line, None, "the line is not a JSON object")
        return FileRecord(self._number, line, cast("dict[str, object]", record))


class CsvRows:
    """A table as text, its first row the names of the columns."""

    def __init__(self, content: BinaryIO, *, separator: str = ",") -> None:
        csv.field_size_limit(CELL_CHARACTERS_MAX)
        # What is not UTF-8 must refuse its row and not the file.
        text = io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._rows: Iterator[list[str]] = csv.reader(text, delimiter=separator)
        self._number = 0
        self._names: list[str] | None = None

    def skip(self, count: int) -> int:
        """Pass over the rows up to this number."""
        self._named()
        while self._number < count and self._row() is not None:
            pass
        return self._number

    def read(self, count: int) -> list[FileRecord]:
        """The next rows."""
        found: list[FileRecord] = []
        names = self._named()
        while len(found) < count:
            row = self._row()
            if row is None:
                break
            found.append(self._parse(names, row))
        return found

    def _named(self) -> list[str]:
        if self._names is None:
            with _damage():
                try:
                    names = next(self._rows, list[str]())
                except csv.Error as error:
                    raise InvalidInputError(
                        "FILE_UNREADABLE", f"the first row is not CSV: {error}"
                    ) from error
            if not names or len(names) > COLUMNS_MAX or len(set(names)) < len(names):
                raise InvalidInputError(
                    "COLUMNS_UNNAMED",
                    "the first row does not name each column once",
                    hint="add a row of names; --separator says what parts the columns",
                )
            self._names = [name.strip() for name in names]
        return self._names

    def _row(self) -> list[str] | str | None:
        with _damage():
            try:
                row = next(self._rows, None)
            except csv.Error as error:
                row = str(error)
        if row is not None:
            self._number += 1
        return row

    def _parse(self, names: list[str], row: list[str] | str) -> FileRecord:
        if isinstance(row, str):
            return FileRecord(self._number, b"", None, f"the row is not CSV: {row}")
        if not row:
            return FileRecord(self._number, b"")
        record = dict(zip(names, row, strict=False))
        try:
            text = msgspec.json.encode(record)
        except UnicodeEncodeError:
            text = ",".join(row).encode("utf-8", "surrogateescape")
            return FileRecord(self._number, text, None, "the row is not UTF-8")
        if len(row) != len(names):
            problem = f"the row has {len(row)} cells for {len(names)} columns"
            return FileRecord(self._number, text, None, problem)
        return FileRecord(self._number, text, record)
