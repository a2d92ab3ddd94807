"""Ports for programs that can only be told a number.

Invariant: a port is below those that the kernel gives to whoever asks for any, so between choosing
and using nothing else on the machine takes it by chance.
"""

import secrets
import socket
from typing import Final

_FIRST: Final = 15_000
_COUNT: Final = 15_000
_ATTEMPTS_MAX: Final = 100


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A loopback port that nobody uses now."""
    for _ in range(_ATTEMPTS_MAX):
        port = _FIRST + secrets.randbelow(_COUNT)  # every process of pytest has the same `random`
        with socket.socket(socket.AF_INET, kind) as door:
            try:
                door.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no free port")
