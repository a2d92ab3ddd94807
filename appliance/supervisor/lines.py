"""From the bytes a child prints to entries of a log, within limits.

Invariant: whatever a child prints, memory stays bounded: a line has a largest size, a second has a
largest number of lines, and what is left out is counted. Pure; `output.py` does the reading.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, cast

import msgspec

LINE_BYTES_MAX: Final = 16 << 10
LINES_PER_SECOND_MAX: Final = 2000
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_LEVEL_NAMES: Final = {"warn": "warning", "fatal": "critical", "exception": "error"}
_RESERVED: Final = frozenset({"timestamp", "level", "event", "component", "pid", "restart"})
_LAST_WORDS: Final = "pug-appliance: "  # how our own command line begins its one line of failure
_PLAIN_LEVEL: Final = re.compile(r"^\[?(DEBUG|INFO|WARNING|ERROR|CRITICAL)\]?[: ]+")


class ParsedLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one line says: a level of ours, an event, and fields if it had any."""

    level: str
    event: str
    fields: dict[str, object] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a component's log."""

    timestamp: str
    level: str
    component: str
    pid: int | None
    restart: int
    event: str
    fields: dict[str, object] = {}

    def encode(self) -> bytes:
        """The entry as one line of JSON."""
        whole: dict[str, object] = {
            "timestamp": self.timestamp,
            "level": self.level,
            "component": self.component,
            "pid": self.pid,
            "restart": self.restart,
            "event": self.event,
            **{name: value for name, value in self.fields.items() if name not in _RESERVED},
        }
        return msgspec.json.encode(whole) + b"\n"


LineParser = Callable[[str], ParsedLine]


def decode_entry(line: bytes) -> Entry | None:
    """The entry in one line of a log file, or None when the line is damaged."""
    try:
        whole = msgspec.json.decode(line, type=dict[str, object])
        fields = {name: value for name, value in whole.items() if name not in _RESERVED}
        return msgspec.convert(
            {name: value for name, value in whole.items() if name in _RESERVED}
            | {"fields": fields},
            type=Entry,
        )
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def severity(level: str) -> int:
    """Rank of a level; unknown words count as `info`."""
    name = _LEVEL_NAMES.get(level, level)
    return _LEVELS.index(name) if name in _LEVELS else _LEVELS.index("info")


def normal_level(level: str) -> str:
    """The level word we use for what others call `warn`, `fatal` and so on."""
    return _LEVELS[severity(level.lower())]


def parse_plain(text: str) -> ParsedLine:
    """A line of free text; a level word in front counts."""
    match = _PLAIN_LEVEL.match(text)
    if match is None:
        return ParsedLine(level="info", event=text)
    return ParsedLine(level=normal_level(match[1]), event=text[match.end() :])


def parse_structured(text: str) -> ParsedLine:
    """A line of our own programs: a JSON object with `event` and `level`, or free text."""
    if text.startswith(_LAST_WORDS):
        return ParsedLine(level="error", event=text.removeprefix(_LAST_WORDS))
    if not text.startswith("{"):
        return parse_plain(text)
    try:
        whole = msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError:
        return parse_plain(text)
    level = whole.get("level")
    event = whole.get("event")
    return ParsedLine(
        level=normal_level(level) if isinstance(level, str) else "info",
        event=event if isinstance(event, str) else "",
        fields={name: value for name, value in whole.items() if name not in _RESERVED},
    )


class LineSplitter:
    """Cuts a stream of bytes into lines; the rest of a line beyond the limit is dropped."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._limit = line_bytes_max
        self._partial = bytearray()
        self._overlong = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that `chunk` completes."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._take(piece)
            yield self._finish()
        self._take(rest)

    def flush(self) -> Iterator[str]:
        """The last line, when it had no end."""
        if self._partial:
            yield self._finish()

    def _take(self, piece: bytes) -> None:
        room = self._limit - len(self._partial)
        self._overlong = self._overlong or len(piece) > room
        self._partial += piece[: max(room, 0)]

    def _finish(self) -> str:
        text = self._partial.decode("utf-8", "replace").rstrip("\r")
        if self._overlong:
            text += " [cut]"
        self._partial.clear()
        self._overlong = False
        return text


class LineBudget:
    """How many lines a second are kept; the others are counted."""

    def __init__(self, lines_per_second_max: int = LINES_PER_SECOND_MAX) -> None:
        self._limit = lines_per_second_max
        self._second = -1
        self._kept = 0
        self.dropped = 0

    def admits(self, monotonic_seconds: float) -> bool:
        """Whether a line printed at this moment is kept."""
        second = int(monotonic_seconds)
        if second != self._second:
            self._second = second
            self._kept = 0
        if self._kept >= self._limit:
            self.dropped += 1
            return False
        self._kept += 1
        return True

    def take_dropped(self) -> int:
        """How many lines were dropped since the last call."""
        dropped, self.dropped = self.dropped, 0
        return dropped


def as_fields(value: object) -> dict[str, object]:
    """A Struct as log fields."""
    return cast("dict[str, object]", msgspec.to_builtins(value))
