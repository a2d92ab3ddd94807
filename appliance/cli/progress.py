"""Shows the progress of a long operation: a live line on a terminal, plain lines, or JSON lines.

Invariant: what an operation tells is shown once, by whichever voice suits the stream. People's
lines go to standard error, so that standard output holds only results; JSON goes to standard
output, one object a line, told apart by `event`.
"""

import shutil
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Protocol, Self, TextIO

import msgspec

from appliance.base.clock import Clock, SystemClock
from appliance.lifecycle.progress import Progress

_TITLE_WIDTH: Final = 38
_BAR_WIDTH: Final = 16
_COLUMNS_MIN: Final = 40
_REDRAW_SECONDS: Final = 0.1
_REPEAT_SECONDS: Final = 5.0
_JSON_SECONDS: Final = 0.5
_ERASE_LINE: Final = "\r\x1b[K"
_BYTE_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_KILO: Final = 1000


class ShownProgress(Progress, Protocol):
    """A progress that has to be closed, so that no half-drawn line is left behind."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_progress(
    *, as_json: bool = False, stream: TextIO | None = None, clock: Clock | None = None
) -> ShownProgress:
    """The voice for this invocation, to be used in a `with` statement.

    Without `stream`, JSON goes to standard output and everything else to standard error.
    """
    chosen_clock = clock or SystemClock()
    if as_json:
        return JsonProgress(stream or sys.stdout, chosen_clock)
    chosen = stream or sys.stderr
    if chosen.isatty():
        return TerminalProgress(chosen, chosen_clock)
    return LineProgress(chosen, chosen_clock)


class _Voice:
    """What the three voices share: writing that survives a closed stream, and the open steps."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._titles: dict[str, str] = {}
        self._shown_at = clock.monotonic_seconds()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._titles.clear()

    def begin(self, step: str, title: str) -> None:
        """Remember the step; operations may run inside one another."""
        self._titles.pop(step, None)
        self._titles[step] = title
        self._shown_at = self._clock.monotonic_seconds()

    def _current(self) -> str:
        """The title of the step that was begun last and has not ended."""
        return next(reversed(self._titles.values()), "")

    def _due(self, seconds: float) -> bool:
        """Whether something may be shown again; if so, the time is taken."""
        now = self._clock.monotonic_seconds()
        if now - self._shown_at < seconds:
            return False
        self._shown_at = now
        return True

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # A closed terminal or pipe must not stop an operation half way.
            return


class TerminalProgress(_Voice):
    """One line for each step, drawn anew while it works: title, bar, seconds."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        super().__init__(stream, clock)
        self._begun_at: dict[str, float] = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._titles:
            self._write(f"{_ERASE_LINE}  {self._current():<{_TITLE_WIDTH}} not done\n")
        super().__exit__(kind, error, trace)

    def begin(self, step: str, title: str) -> None:
        super().begin(step, title)
        self._begun_at[step] = self._shown_at
        self._draw(f"  {title}")

    def end(self, step: str, seconds: float) -> None:
        title = self._titles.pop(step, step)
        self._begun_at.pop(step, None)
        self._write(f"{_ERASE_LINE}  {title:<{_TITLE_WIDTH}} {seconds:7.2f} s\n")
        if self._titles:
            self._draw(f"  {self._current()}")

    def amount(self, done: int, total: int, unit: str = "bytes") -> None:
        if not self._titles or not (self._due(_REDRAW_SECONDS) or done >= total):
            return
        share = min(1.0, done / total) if total > 0 else 1.0
        filled = round(share * _BAR_WIDTH)
        bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
        begun_at = next(reversed(self._begun_at.values()), self._shown_at)
        seconds = self._clock.monotonic_seconds() - begun_at
        shown = f"{self._current():<{_TITLE_WIDTH}} {seconds:7.1f} s"
        self._draw(f"  {shown}  [{bar}] {share:4.0%}  {_shown(done, total, unit)}")

    def note(self, text: str) -> None:
        self._write(f"{_ERASE_LINE}  {text}\n")
        if self._titles:
            self._draw(f"  {self._current()}")

    def _draw(self, text: str) -> None:
        # A line that wraps could not be erased again.
        columns = max(_COLUMNS_MIN, shutil.get_terminal_size().columns)
        self._write(_ERASE_LINE + text[: columns - 1])


class LineProgress(_Voice):
    """Whole lines, for logs and pipes; a long step says every few seconds how far it is."""

    def end(self, step: str, seconds: float) -> None:
        title = self._titles.pop(step, step)
        self._write(f"{title}: {seconds:.2f} s\n")

    def amount(self, done: int, total: int, unit: str = "bytes") -> None:
        if self._titles and self._due(_REPEAT_SECONDS):
            share = min(1.0, done / total) if total > 0 else 1.0
            self._write(f"{self._current()}: {share:.0%}, {_shown(done, total, unit)}\n")

    def note(self, text: str) -> None:
        self._write(f"{text}\n")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._titles:
            self._write(f"{self._current()}: not done\n")
        super().__exit__(kind, error, trace)


class JsonProgress(_Voice):
    """`{"event": "begun"|"amount"|"ended"|"note", …}`, one object a line."""

    def begin(self, step: str, title: str) -> None:
        super().begin(step, title)
        self._tell({"event": "begun", "step": step, "title": title})

    def end(self, step: str, seconds: float) -> None:
        self._titles.pop(step, None)
        self._tell({"event": "ended", "step": step, "seconds": round(seconds, 3)})

    def amount(self, done: int, total: int, unit: str = "bytes") -> None:
        if self._titles and (self._due(_JSON_SECONDS) or done >= total):
            step = next(reversed(self._titles))
            said = {"event": "amount", "step": step, "done": done, "total": total, "unit": unit}
            self._tell(said)

    def note(self, text: str) -> None:
        self._tell({"event": "note", "text": text})

    def _tell(self, said: Mapping[str, str | int | float]) -> None:
        self._write(msgspec.json.encode(said).decode() + "\n")


def _shown(done: int, total: int, unit: str) -> str:
    if unit != "bytes":
        return f"{done} of {total} {unit}"
    return f"{human_bytes(done)} of {human_bytes(total)}"


def human_bytes(count: int) -> str:
    """A size for people, like `312.4 MB`."""
    size = float(count)
    for unit in _BYTE_UNITS:
        if size < _KILO or unit == _BYTE_UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KILO
    raise AssertionError(count)
