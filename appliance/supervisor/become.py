"""Turn this process into a component's program, where the service manager watches processes.

Invariant: the program gets the environment and folder its spec gives it under our own supervisor,
too; what is left of this process is its pid, its account and its listening sockets.
"""

import os
import signal
from collections.abc import Mapping
from typing import Final, NoReturn

from appliance.base.errors import MisconfiguredError
from appliance.supervisor.environment import child_environment
from appliance.supervisor.spec import ProcessSpec

_FROM_SYSTEMD: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
)
_UMASK: Final = 0o077


def become(spec: ProcessSpec, *, inherited: Mapping[str, str]) -> NoReturn:
    """Replace this process by the program of a spec; account and limits are the unit's.

    Raises MisconfiguredError when the program cannot be run.
    """
    environment = child_environment(spec.environment, own=spec.own, inherited=inherited)
    if spec.own or spec.takes_socket:
        environment |= {name: inherited[name] for name in _FROM_SYSTEMD if name in inherited}
    os.umask(_UMASK)
    # The interpreter ignores these two, and an ignored signal stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        if spec.directory is not None:
            os.chdir(spec.directory)
        os.execve(spec.argv[0], spec.argv, environment)  # noqa: S606 becoming it is the purpose
    except OSError as error:
        raise MisconfiguredError(
            "PROGRAM_MISSING",
            f"{spec.name}: {spec.argv[0]} cannot be run: {error.strerror}",
            hint="run `pug-appliance install` again from the bundle",
        ) from error
