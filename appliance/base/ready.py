"""How our own processes say that they answer.

Invariant: exactly one line `READY={json}` on the descriptor named by `PUG_READY_FD`, written only
after the protocol answers. Who waits for it: `supervisor/probe.py` and the tests.
"""

import os
from collections.abc import Mapping
from typing import Final

import msgspec

READY_DESCRIPTOR_VARIABLE: Final = "PUG_READY_FD"
LISTEN_DESCRIPTOR_VARIABLE: Final = "PUG_LISTEN_FD"
GRPC_DESCRIPTOR_VARIABLE: Final = "PUG_GRPC_LISTEN_FD"
_SYSTEMD_FIRST_DESCRIPTOR: Final = 3
READY_PREFIX: Final = b"READY="


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """What a ready process tells: its pid and, when it listens, its TCP port."""

    pid: int
    port: int | None = None


def systemd_listeners(environment: Mapping[str, str]) -> tuple[int, ...]:
    """The listening sockets the service manager holds for this process, in its order."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return ()
    return tuple(range(_SYSTEMD_FIRST_DESCRIPTOR, _SYSTEMD_FIRST_DESCRIPTOR + int(count)))


def announce_ready(*, port: int | None = None) -> None:
    """Tell whoever started us that we answer; without a descriptor nothing happens."""
    descriptor = os.environ.get(READY_DESCRIPTOR_VARIABLE)  # noqa: TID251 a process door, not a setting
    if descriptor is None:
        return
    line = READY_PREFIX + msgspec.json.encode(Readiness(pid=os.getpid(), port=port)) + b"\n"
    os.write(int(descriptor), line)
    os.close(int(descriptor))
    del os.environ[READY_DESCRIPTOR_VARIABLE]  # noqa: TID251 a process door, not a setting


def parse_ready(line: bytes) -> Readiness | None:
    """The readiness in `line`, or None when the line says something else."""
    if not line.startswith(READY_PREFIX):
        return None
    try:
        return msgspec.json.decode(line[len(READY_PREFIX) :], type=Readiness)
    except msgspec.DecodeError:
        return None
