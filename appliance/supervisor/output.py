"""Where the lines of components go: one capped file each, and whoever listens.

Invariant: a component never waits for its log. Files are turned over at a size, a full disk costs
log lines and nothing else, and every entry names component, pid and restart number.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.files import PRIVATE_FILE, PRIVATE_FOLDER, ensure_folder
from appliance.supervisor.lines import (
    Entry,
    LineBudget,
    LineParser,
    LineSplitter,
    ParsedLine,
    severity,
)

SUPERVISOR: Final = "supervisor"
_SUFFIX: Final = ".jsonl"

Listener = Callable[[Entry], None]


class LogPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept: the least severe level, the size of a file and how many files."""

    level: str = "info"
    file_bytes_max: int = 16 << 20
    files_max: int = 4


class LogFile:
    """An append-only file that is turned over at a size; the oldest turn is forgotten."""

    def __init__(self, path: Path, policy: LogPolicy) -> None:
        self._path = path
        self._policy = policy
        self._descriptor = -1
        self._size = 0
        self.lost = 0

    def append(self, line: bytes) -> None:
        """Write one line; when that is impossible the line is lost and counted."""
        try:
            if self._size + len(line) > self._policy.file_bytes_max and self._size:
                self._turn_over()
            if self._descriptor < 0:
                self._open()
            os.write(self._descriptor, line)
            self._size += len(line)
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, PRIVATE_FILE)
        os.fchmod(self._descriptor, PRIVATE_FILE)
        self._size = os.fstat(self._descriptor).st_size

    def _turn_over(self) -> None:
        self.close()
        self._size = 0
        kept = self._policy.files_max - 1
        if kept < 1:
            self._path.unlink(missing_ok=True)
            return
        for number in range(kept, 0, -1):
            source = self._path if number == 1 else turned(self._path, number - 1)
            if source.exists():
                source.replace(turned(self._path, number))


def turned(path: Path, number: int) -> Path:
    """The name of a turned-over log file; 1 is the youngest."""
    return path.with_name(f"{path.name}.{number}")


def log_path(folder: Path, component: str) -> Path:
    """The log file of a component."""
    return folder / f"{component}{_SUFFIX}"


def logged_components(folder: Path) -> tuple[str, ...]:
    """The components that have a log file, in alphabetical order."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in folder.glob(f"*{_SUFFIX}")))


class LogBook:
    """All log files of an installation, and the listeners that see every entry."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        policy: LogPolicy | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._folder = ensure_folder(folder, mode=PRIVATE_FOLDER)
        self._clock = clock
        self._policy = policy or LogPolicy()
        self._listener = listener
        self._files: dict[str, LogFile] = {}

    def note(self, component: str, event: str, level: str = "info", **fields: object) -> None:
        """Write what the supervisor itself has to say about a component."""
        self.write(
            SUPERVISOR,
            ParsedLine(level=level, event=event, fields={"about": component, **fields}),
            pid=os.getpid(),
        )

    def write(self, component: str, line: ParsedLine, *, pid: int | None, restart: int = 0) -> None:
        """Write one line of a component."""
        if severity(line.level) < severity(self._policy.level):
            return
        entry = Entry(
            timestamp=self._clock.now().isoformat(timespec="milliseconds"),
            level=line.level,
            component=component,
            pid=pid,
            restart=restart,
            event=line.event,
            fields=line.fields,
        )
        if component not in self._files:
            self._files[component] = LogFile(log_path(self._folder, component), self._policy)
        self._files[component].append(entry.encode())
        if self._listener is not None:
            self._listener(entry)

    def close(self) -> None:
        """Close every file."""
        for file in self._files.values():
            file.close()
        self._files.clear()


class OutputSink:
    """What one child prints, on its way into the log book; remembers the last line for causes."""

    def __init__(
        self, book: LogBook, component: str, *, parse: LineParser, clock: Clock, restart: int
    ) -> None:
        self._book = book
        self._component = component
        self._parse = parse
        self._clock = clock
        self._restart = restart
        self._splitter = LineSplitter()
        self._budget = LineBudget()
        self.pid: int | None = None
        self.last_line = ""
        self._last_severity = -1

    def feed(self, chunk: bytes) -> None:
        """Take what was read from the child."""
        now = self._clock.monotonic_seconds()
        for text in self._splitter.feed(chunk):
            self._take(text, now)

    def close(self) -> None:
        """The child prints no more."""
        now = self._clock.monotonic_seconds()
        for text in self._splitter.flush():
            self._take(text, now)
        self._tell_dropped()

    def _take(self, text: str, now: float) -> None:
        if not text.strip() or not self._budget.admits(now):
            return
        self._tell_dropped()
        line = self._parse(text)
        if severity(line.level) >= self._last_severity and not line.event.startswith("\t"):
            # A cause is the last of the gravest lines: what follows an error is its echo.
            self.last_line = line.event
            self._last_severity = severity(line.level)
        self._book.write(self._component, line, pid=self.pid, restart=self._restart)

    def _tell_dropped(self) -> None:
        dropped = self._budget.take_dropped()
        if dropped:
            self._book.write(
                self._component,
                ParsedLine(level="warning", event="log_lines_dropped", fields={"lines": dropped}),
                pid=self.pid,
                restart=self._restart,
            )
