"""How far an import came, so that the same command goes on after any interruption.

Invariant: what the journal calls done is on the queue's disk, with the refused lines of it in the
report; both are flushed before the journal names them. Losing a journal costs only time: everything
imported again counts once. One import at a time has a journal, by `flock`.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec
from msgspec import Struct, field

from appliance.base.errors import ConflictError
from appliance.base.files import PRIVATE_FILE, FileLock, ensure_folder, write_atomic

REFUSED_TEXT_BYTES_MAX: Final = 64 << 10
REASONS_MAX: Final = 100
KEPT_DAYS: Final = 30
_STATE: Final = "state.json"
_REFUSED: Final = "refused.jsonl"
_LOCK: Final = "lock"
_NAME_CHARACTERS: Final = 20


class ImportState(Struct, frozen=True, kw_only=True):
    """What of a file is done: records read, events sent, lines refused or passed over, and why."""

    records: int = 0
    sent: int = 0
    refused: int = 0
    refused_bytes: int = 0
    passed: Mapping[str, int] = field(default_factory=dict[str, int])
    reasons: Mapping[str, int] = field(default_factory=dict[str, int])
    identities: int = 0


class RefusedLine(Struct, frozen=True, kw_only=True):
    """A line of the report; `record` is its text, cut when it is very long."""

    line: int
    reason: str
    record: str


def name_import(*parts: str) -> str:
    """The name of the journal of an import: the same for the same file and the same orders."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    return digest[:_NAME_CHARACTERS]


class Journal:
    """The folder of one import, held while it runs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = ensure_folder(folder / name)
        self._lock = FileLock(self._folder / _LOCK)
        self._file: BinaryIO | None = None
        self.state = ImportState()

    def __enter__(self) -> Self:
        """Take the journal; raises ConflictError while another process imports the same file."""
        self._lock.acquire()
        try:
            state = (self._folder / _STATE).read_bytes()
            self.state = msgspec.json.decode(state, type=ImportState)
        except (FileNotFoundError, msgspec.DecodeError):
            self.state = ImportState()
        descriptor = os.open(self.report, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        self._file = os.fdopen(descriptor, "r+b")
        # Lines after those that the journal knows were refused in a part that is read again.
        self._file.truncate(self.state.refused_bytes)
        self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._lock.release()

    @property
    def report(self) -> Path:
        """Where the refused lines are."""
        return self._folder / _REFUSED

    def save(self, state: ImportState, refused: Sequence[RefusedLine]) -> None:
        """Write down what is done now."""
        assert self._file is not None
        if refused:
            self._file.write(msgspec.json.Encoder().encode_lines(refused))
            self._file.flush()
            os.fsync(self._file.fileno())
        state = msgspec.structs.replace(state, refused_bytes=self._file.tell())
        write_atomic(self._folder / _STATE, msgspec.json.encode(state))
        self.state = state

    def finish(self) -> None:
        """Forget how far it came; the next import of the file begins at its beginning."""
        (self._folder / _STATE).unlink(missing_ok=True)
        if not self.state.refused:
            self.report.unlink(missing_ok=True)


def forget_old_imports(folder: Path, now: datetime) -> None:
    """Remove what imports left behind that nobody went on with for `KEPT_DAYS`: reports hold what
    was in the files, people too.
    """
    if not folder.exists():
        return
    before = now.timestamp() - KEPT_DAYS * 86_400
    for each in sorted(folder.iterdir()):
        ages = [one.stat().st_mtime for one in each.iterdir()] if each.is_dir() else []
        if not ages or max(ages) >= before:
            continue
        try:
            with FileLock(each / _LOCK):
                shutil.rmtree(each)
        except ConflictError:
            continue


def count_reason(reasons: Mapping[str, int], reason: str, number: int = 1) -> dict[str, int]:
    """The counts with one more of a reason; beyond a bound all are one reason."""
    counted = dict(reasons)
    kept = reason if reason in counted or len(counted) < REASONS_MAX else "other reasons"
    counted[kept] = counted.get(kept, 0) + number
    return counted
