"""Log entries for journald, with their level and component as fields.

Invariant: `journalctl -p warning` and `journalctl PUG_COMPONENT=api` work. When the journal's
socket cannot be used, lines go to standard error with the priority in front, which journald
understands too. Nothing is ever raised, and nobody waits.
"""

import os
import socket
from collections.abc import Mapping
from typing import Final

from appliance.supervisor.lines import Entry
from appliance.supervisor.syslog import severity_number

SOCKET_PATH: Final = "/run/systemd/journal/socket"
_STREAM_VARIABLE: Final = "JOURNAL_STREAM"


def is_journal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Whether what is written to `descriptor` ends in the journal; systemd names that file."""
    told = environment.get(_STREAM_VARIABLE, "")
    if not told:
        return False
    try:
        state = os.fstat(descriptor)
    except OSError:
        return False
    return told == f"{state.st_dev}:{state.st_ino}"


def render_prefixed(entry: Entry) -> str:
    """One line for standard error: priority as sd-daemon(3) wants it, then the entry as JSON."""
    return f"<{severity_number(entry.level)}>{entry.encode().decode().rstrip()}"


def render_fields(entry: Entry) -> bytes:
    """One datagram of the journal's own protocol."""
    fields = {
        "MESSAGE": f"{entry.event}{_shown(entry)}",
        "PRIORITY": str(severity_number(entry.level)),
        "SYSLOG_IDENTIFIER": f"pug-{entry.component}",
        "PUG_COMPONENT": entry.component,
        "PUG_RESTART": str(entry.restart),
        "PUG_ENTRY": entry.encode().decode().rstrip(),
    }
    if entry.pid is not None:
        fields["SYSLOG_PID"] = str(entry.pid)
    lines = [f"{name}={_one_line(value)}" for name, value in fields.items()]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


class JournalSocket:
    """The datagram socket of journald."""

    def __init__(self, path: str = SOCKET_PATH) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(0)

    def send(self, entry: Entry) -> bool:
        """Hand an entry over; False when the journal does not take it."""
        try:
            self._socket.sendto(render_fields(entry), self._path)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def _shown(entry: Entry) -> str:
    return "".join(f" {name}={value}" for name, value in entry.fields.items())


def _one_line(text: str) -> str:
    return text.replace("\n", " ")
