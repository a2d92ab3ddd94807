"""Forwards log entries to a syslog server in the form of RFC 5424.

Invariant: whoever writes a log line never waits for the network. Entries wait in a queue of fixed
size, the oldest is dropped for a new one, and what was dropped is told when the server is back.
Framing: one datagram a message (RFC 5426, Unix), counted octets on a stream (RFC 6587, RFC 5425).
"""

import re
import socket
import ssl
import threading
from collections import deque
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from appliance.base.errors import MisconfiguredError
from appliance.supervisor.lines import Entry

QUEUE_ENTRIES_MAX: Final = 10_000
DATAGRAM_BYTES_MAX: Final = 2048
"""What every receiver takes (RFC 5424, 6.1)."""
STREAM_BYTES_MAX: Final = 8192
CONNECT_SECONDS_MAX: Final = 5.0
FLUSH_SECONDS_MAX: Final = 2.0

_FACILITY_DAEMON: Final = 3
_SEVERITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_INFORMATIONAL: Final = 6
_PAUSES_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
_STRUCTURE: Final = "pug@32473"  # the number that RFC 5612 keeps for examples; we have none
_MESSAGE_ID: Final = re.compile(r"[\x21-\x7e]{1,32}")
_NOT_A_NAME: Final = re.compile(r"[^\x21-\x7e]|[=\]\"]")
_NAME_LETTERS_MAX: Final = 32
_APP_NAME_LETTERS_MAX: Final = 48
_HOST_LETTERS_MAX: Final = 255
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "]": r"\]"})
_PORTS: Final = {"udp": 514, "tcp": 514, "tls": 6514}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where to: `host` and `port`, or for `unix` the `path` of a socket."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def streams(self) -> bool:
        """Whether messages need a frame."""
        return self.scheme in {"tcp", "tls"}


def parse_target(url: str) -> Target:
    """`udp://host:514`, `tcp://host`, `tls://host:6514` or `unix:///dev/log`.

    Raises MisconfiguredError for anything else.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme == "unix" and parts.path and not host:
        return Target(scheme="unix", path=parts.path)
    plain = not (parts.path or parts.query or parts.fragment or parts.username)
    if parts.scheme in _PORTS and host and plain:
        return Target(scheme=parts.scheme, host=host, port=port or _PORTS[parts.scheme])
    raise MisconfiguredError(
        "SYSLOG_UNUSABLE",
        f"{url!r} is not the address of a syslog server",
        hint="write it like udp://logs.example:514, tcp://…, tls://… or unix:///dev/log",
    )


def severity_number(level: str) -> int:
    """The number of one of our levels, as syslog and journald count them."""
    return _SEVERITIES.get(level, _INFORMATIONAL)


def render_syslog(entry: Entry, *, hostname: str, bytes_max: int) -> bytes:
    """One entry as a message of RFC 5424 that is not longer than `bytes_max`.

    Fields that do not fit are left out, then the text is cut.
    """
    priority = _FACILITY_DAEMON * 8 + severity_number(entry.level)
    name = _word(f"pug-{entry.component}", _APP_NAME_LETTERS_MAX)
    pid = str(entry.pid) if entry.pid is not None else "-"
    event = entry.event if _MESSAGE_ID.fullmatch(entry.event) else "-"
    host = _word(hostname, _HOST_LETTERS_MAX)
    head = f"<{priority}>1 {entry.timestamp} {host} {name} {pid} {event} ".encode()
    text = _one_line(entry.event).encode("utf-8", "replace")
    room = bytes_max - len(head) - 1 - min(len(text), bytes_max // 2)
    structure = _render_fields(entry, room)
    message = head + structure + b" " + text
    return message[:bytes_max].decode("utf-8", "ignore").encode()


def _render_fields(entry: Entry, bytes_max: int) -> bytes:
    parts: list[bytes] = [b"[" + _STRUCTURE.encode()]
    room = bytes_max - len(parts[0]) - 1
    known: dict[str, object] = {"component": entry.component, "restart": entry.restart}
    for name, value in (known | entry.fields).items():
        escaped = _one_line(str(value)).translate(_ESCAPED)
        word = _NOT_A_NAME.sub("_", name)[:_NAME_LETTERS_MAX] or "_"
        part = f' {word}="{escaped}"'.encode("utf-8", "replace")
        if len(part) <= room:
            parts.append(part)
            room -= len(part)
    return b"".join((*parts, b"]"))


def _word(text: str, letters_max: int) -> str:
    return re.sub(r"[^\x21-\x7e]", "_", text)[:letters_max] or "-"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


class Forwarder:
    """Sends entries from a thread of its own; `dropped` counts what found no room."""

    def __init__(
        self,
        target: Target,
        *,
        hostname: str,
        authorities: Path | None = None,
        entries_max: int = QUEUE_ENTRIES_MAX,
    ) -> None:
        self._target = target
        self._hostname = hostname
        self._authorities = authorities
        self._entries_max = entries_max
        self._waiting: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._connection: socket.socket | None = None
        self._stopped = threading.Event()
        self._untold = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="syslog", daemon=True)
        self._thread.start()

    def send(self, entry: Entry) -> None:
        """Take an entry; returns at once."""
        with self._changed:
            if len(self._waiting) >= self._entries_max:
                self._waiting.popleft()
                self.dropped += 1
                self._untold += 1
            self._waiting.append(entry)
            self._changed.notify()

    def close(self) -> None:
        """Send what waits, as far as that is quick, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(FLUSH_SECONDS_MAX)
        self._stopped.set()

    def _work(self) -> None:
        failures = 0
        while (entry := self._next()) is not None:
            try:
                self._deliver(entry)
            except (OSError, ssl.SSLError):
                self._disconnect()
                self._put_back(entry)
                if self._closing:
                    break
                pause = _PAUSES_SECONDS[min(failures, len(_PAUSES_SECONDS) - 1)]
                failures += 1
                self._stopped.wait(pause)
            else:
                failures = 0
        self._disconnect()

    def _next(self) -> Entry | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def _put_back(self, entry: Entry) -> None:
        with self._changed:
            if len(self._waiting) < self._entries_max:
                self._waiting.appendleft(entry)
            else:
                self.dropped += 1
                self._untold += 1

    def _deliver(self, entry: Entry) -> None:
        if self._connection is None:
            self._connection = self._connect()
        with self._changed:
            untold, self._untold = self._untold, 0
        if untold:
            try:
                self._write(_told_dropped(entry, untold))
            except OSError:
                with self._changed:
                    self._untold += untold
                raise
        self._write(entry)

    def _write(self, entry: Entry) -> None:
        assert self._connection is not None
        limit = STREAM_BYTES_MAX if self._target.streams else DATAGRAM_BYTES_MAX
        message = render_syslog(entry, hostname=self._hostname, bytes_max=limit)
        if self._target.streams:
            self._look_for_the_end(self._connection)
            self._connection.sendall(str(len(message)).encode() + b" " + message)
        else:
            self._connection.send(message)

    def _look_for_the_end(self, connection: socket.socket) -> None:
        """A syslog server says nothing, so something to read is the end of the connection."""
        connection.settimeout(0)
        try:
            if not connection.recv(1):
                raise ConnectionResetError
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        finally:
            connection.settimeout(CONNECT_SECONDS_MAX)

    def _connect(self) -> socket.socket:
        target = self._target
        if target.scheme == "unix":
            return _connect_unix(target.path)
        if target.scheme == "udp":
            kind, address = _resolve(target)
            connection = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            connection.connect(address)
            return connection
        connection = socket.create_connection(
            (target.host, target.port), timeout=CONNECT_SECONDS_MAX
        )
        if target.scheme == "tcp":
            return connection
        try:
            context = ssl.create_default_context(cafile=self._authorities)
            return context.wrap_socket(connection, server_hostname=target.host)
        except BaseException:
            connection.close()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect_unix(path: str) -> socket.socket:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        connection = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
        connection.settimeout(CONNECT_SECONDS_MAX)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            if kind is socket.SOCK_STREAM:
                raise
        else:
            return connection
    raise AssertionError


def _resolve(target: Target) -> tuple[int, tuple[str, int] | tuple[str, int, int, int]]:
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
    family, _, _, _, address = found[0]
    return family, address  # pyright: ignore[reportReturnType] only with IPv6 off is it otherwise


def _told_dropped(entry: Entry, lines: int) -> Entry:
    return Entry(
        timestamp=entry.timestamp,
        level="warning",
        component="supervisor",
        pid=None,
        restart=0,
        event="syslog_lines_dropped",
        fields={"lines": lines},
    )
