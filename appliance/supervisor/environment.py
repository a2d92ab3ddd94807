"""The environment a child gets, and the command line that starts a program of ours.

Invariant: a child's environment is built from nothing; what is not listed here or in its spec does
not exist for it. A frozen application's loader path never reaches a program that is not ours.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOADER_VARIABLE: Final = "LD_LIBRARY_PATH"
_LOADER_ORIGINAL: Final = "LD_LIBRARY_PATH_ORIG"
_INHERITED: Final = ("TZDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_INHERITED_BY_OURS: Final = ("CREDENTIALS_DIRECTORY",)
_LAUNCHER: Final = Path(__file__).with_name("launch.py")


def is_frozen() -> bool:
    """Whether this is the frozen binary."""
    return bool(getattr(sys, "frozen", False))


def self_argv(*words: str) -> tuple[str, ...]:
    """The command line of one of our own commands, frozen or not."""
    if is_frozen():
        return (sys.executable, *words)
    # -P: the working directory is the data directory, and nothing there may shadow a module.
    return (sys.executable, "-P", "-m", "appliance", *words)


def launcher_argv() -> tuple[str, ...]:
    """The command line of `launch.py`; the frozen binary has it as a hidden command."""
    if is_frozen():
        return (sys.executable, "launch")
    return (sys.executable, "-I", "-S", "-B", str(_LAUNCHER))


def child_environment(
    wanted: Mapping[str, str], *, own: bool, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of a child.

    `inherited` is the supervisor's own; only certificate and zone folders are taken over, the
    loader path that was there before the frozen application put its own in place, and for programs
    of ours the folder of systemd's credentials.
    """
    environment = {"PATH": _SEARCH_PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    environment |= {name: inherited[name] for name in _INHERITED if name in inherited}
    if inherited.get(_LOADER_ORIGINAL):
        environment[_LOADER_VARIABLE] = inherited[_LOADER_ORIGINAL]
    elif not is_frozen() and own and inherited.get(_LOADER_VARIABLE):
        # A developer's interpreter may need it to find its own libraries.
        environment[_LOADER_VARIABLE] = inherited[_LOADER_VARIABLE]
    if own:
        environment |= {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
        environment |= {name: inherited[name] for name in _INHERITED_BY_OURS if name in inherited}
    return environment | dict(wanted)
