"""The last steps between the supervisor and a foreign program, in a process of their own.

Invariant: nothing but the standard library, no import of ours: it runs as `python -I -S launch.py
ORDERS PROGRAM ARGUMENT...` and replaces itself by PROGRAM. It exists because code between fork and
exec inside the supervisor is unsafe beside threads, and because the kernel forgets the parent-death
signal when the user changes, so that must be asked for after dropping privileges.
ORDERS is a JSON object, see `child.py`; it never holds a secret.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import TypedDict, cast

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
EXIT_ORPHANED = 125
EXIT_CANNOT_RUN = 127
ARGUMENTS_MIN = 3


class Orders(TypedDict):
    """What to do before the program starts."""

    parent: int
    death_signal: int
    uid: int | None
    gid: int | None
    directory: str | None
    open_files: int | None
    oom_score_adjust: int


def prepare(orders: Orders) -> None:
    """Drop privileges and ask for the parent-death signal; raises OSError."""
    os.umask(0o077)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if orders["open_files"]:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = orders["open_files"]
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 pathlib would cost import time here
        file.write(str(orders["oom_score_adjust"]))
    if orders["directory"]:
        os.chdir(orders["directory"])
    if orders["uid"] is not None and orders["gid"] is not None:
        os.setgroups([])
        os.setresgid(orders["gid"], orders["gid"], orders["gid"])
        os.setresuid(orders["uid"], orders["uid"], orders["uid"])
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in (
        (PR_SET_NO_NEW_PRIVS, 1),
        (PR_SET_PDEATHSIG, orders["death_signal"]),
    ):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl {option}")
    if os.getppid() != orders["parent"]:
        # The supervisor died before the kernel was told; nobody would ever end this process.
        sys.exit(EXIT_ORPHANED)
    # The interpreter ignores these two, and an ignored signal stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def main(arguments: list[str]) -> None:
    """Obey the orders and become the program."""
    if len(arguments) < ARGUMENTS_MIN:
        sys.exit(EXIT_CANNOT_RUN)
    program = arguments[2]
    try:
        prepare(cast("Orders", json.loads(arguments[1])))
        os.execv(program, arguments[2:])  # noqa: S606 becoming the program is the purpose
    except OSError as error:
        sys.stderr.write(f"cannot run {program}: {error.strerror}\n")
        sys.exit(EXIT_CANNOT_RUN)


if __name__ == "__main__":
    main(sys.argv)
