"""The record on disk of one operation: what was begun, what is done.

Invariant: a line is on disk before the step it announces begins, and after the step it confirms has
ended. There is at most one open journal; its name disappears in the same rename that ends it.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

import msgspec

from appliance.base.clock import Clock
from appliance.base.errors import ConflictError, DamagedError
from appliance.base.files import ensure_folder, flush_folder, unwritable, write_atomic

_CLOSED_MAX: Final = 50
_OPEN_NAME: Final = "open.jsonl"


class Mark(StrEnum):
    """What happened to a step."""

    BEGUN = "begun"
    DONE = "done"
    UNDOING = "undoing"
    UNDONE = "undone"


class Outcome(StrEnum):
    """How an operation ended."""

    DONE = "done"
    UNDONE = "undone"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What is being done; the parameters suffice to build its steps again after a crash."""

    kind: str
    started_at: str
    parameters: dict[str, str] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line after the first."""

    step: str
    mark: Mark


class Journal:
    """The open journal of a prefix; only one operation can hold it."""

    def __init__(self, folder: Path, operation: Operation, entries: list[Entry]) -> None:
        self._folder = folder
        self._path = folder / _OPEN_NAME
        self.operation = operation
        self._entries = entries

    @classmethod
    def begin(
        cls, folder: Path, kind: str, parameters: dict[str, str] | None = None, *, clock: Clock
    ) -> Self:
        """Open a journal for an operation.

        Raises ConflictError when another operation has not ended.
        """
        ensure_folder(folder)
        path = folder / _OPEN_NAME
        if path.exists():
            raise ConflictError(
                "OPERATION_UNFINISHED",
                f"an earlier operation has not ended ({path})",
                hint="run `pug-appliance recover`, then try again",
            )
        started_at = clock.now().strftime("%Y%m%dT%H%M%SZ")
        operation = Operation(kind=kind, started_at=started_at, parameters=parameters or {})
        write_atomic(path, msgspec.json.encode(operation) + b"\n")
        return cls(folder, operation, [])

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The open journal, or None. A line that a power cut left unfinished does not count.

        Raises DamagedError when the journal cannot be understood.
        """
        path = folder / _OPEN_NAME
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unwritable(path, error) from error
        lines = content.split(b"\n")
        whole = lines[:-1]
        try:
            operation = msgspec.json.decode(whole[0], type=Operation)
            entries = [msgspec.json.decode(line, type=Entry) for line in whole[1:]]
        except (IndexError, msgspec.DecodeError) as error:
            raise DamagedError(
                "JOURNAL_DAMAGED",
                f"the journal {path} cannot be read",
                hint="keep a copy of it, then remove it and run `pug-appliance doctor`",
            ) from error
        if lines[-1]:
            os.truncate(path, len(content) - len(lines[-1]))
        return cls(folder, operation, entries)

    def record(self, step: str, mark: Mark) -> None:
        """Write one line and have it on disk before returning."""
        entry = Entry(step=step, mark=mark)
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(descriptor, msgspec.json.encode(entry) + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._entries.append(entry)

    def has(self, step: str, mark: Mark) -> bool:
        """Whether a step has a mark."""
        return Entry(step=step, mark=mark) in self._entries

    @property
    def undoing(self) -> bool:
        """Whether the way back was taken already; then there is no way forward."""
        return any(entry.mark in {Mark.UNDOING, Mark.UNDONE} for entry in self._entries)

    def close(self, outcome: Outcome) -> Path:
        """End the operation; the journal is kept under a name of its own."""
        kept = f"{self.operation.started_at}-{self.operation.kind}-{outcome.value}.jsonl"
        target = self._folder / kept
        self._path.replace(target)
        flush_folder(self._folder)
        closed = sorted(path for path in self._folder.glob("*.jsonl") if path.name != _OPEN_NAME)
        for path in closed[:-_CLOSED_MAX]:
            path.unlink(missing_ok=True)
        return target
