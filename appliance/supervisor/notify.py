"""Tell systemd how we are: READY, RELOADING, STOPPING, WATCHDOG, and one line of status.

Invariant: without `NOTIFY_SOCKET` every call does nothing, and a notification that cannot be sent
is lost silently, because the service manager's absence is no failure of ours.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

_SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
_WATCHDOG_VARIABLE: Final = "WATCHDOG_USEC"
_WATCHDOG_PID_VARIABLE: Final = "WATCHDOG_PID"
_MICROSECONDS: Final = 1_000_000


class Notifier:
    """The datagram socket of the service manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get(_SOCKET_VARIABLE, "")
        # A leading @ stands for the zero byte of an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_seconds = _watchdog_seconds(environment)

    @property
    def watchdog_seconds(self) -> float | None:
        """How often WATCHDOG must be told: half of what the manager allows, or None."""
        return self._watchdog_seconds

    def ready(self, status: str = "") -> None:
        """Everything answers."""
        self._send("READY=1", status)

    def reloading(self, monotonic_microseconds: int) -> None:
        """Settings are being read again."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_microseconds}", plain=True)

    def stopping(self, status: str = "") -> None:
        """The ordered stop has begun."""
        self._send("STOPPING=1", status)

    def watchdog(self) -> None:
        """The loop is alive."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("", text)

    def _send(self, state: str, text: str = "", *, plain: bool = False) -> None:
        if not self._address:
            return
        second = text if plain or not text else "STATUS=" + text.replace("\n", " ")
        message = "\n".join(part for part in (state, second) if part)
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door,
        ):
            door.setblocking(False)  # noqa: FBT003 the standard library's own signature
            door.sendto(message.encode(), self._address)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    text = environment.get(_WATCHDOG_VARIABLE, "")
    meant_for = environment.get(_WATCHDOG_PID_VARIABLE, str(os.getpid()))
    if not text.isdecimal() or int(text) == 0 or meant_for != str(os.getpid()):
        return None
    return int(text) / _MICROSECONDS / 2
