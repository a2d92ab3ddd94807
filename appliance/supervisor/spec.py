"""What a process should be: the one description that the supervisor runs and units are made from.

Invariant: a spec is data and a few questions to ask (`prepare`, `probe`, `settle`); it never holds
a running thing. Who acts on it: `tree.py`; who writes it: `engines/` and `topology.py`.
"""

import signal
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from appliance.supervisor.lines import LineParser, parse_structured

Action = Callable[[], Awaitable[None]]
"""An asynchronous step that raises ApplianceError, OSError or TimeoutError when it fails."""

READY_SECONDS_MAX: Final = 300.0
"""Loading our own program takes a second, on a slow disk or processor minutes."""
HANG_SECONDS_MAX: Final = 120.0
WATCH_SECONDS: Final = 5.0


class Kind(StrEnum):
    """What is expected of a component."""

    SERVICE = "service"
    ONESHOT = "oneshot"
    EXTERNAL = "external"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The user and group a process runs as; supplementary groups are always dropped."""

    uid: int
    gid: int


class StopStep(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to end a process: the signal, and how long it may take to obey."""

    signal: signal.Signals
    budget_seconds: float


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """An open descriptor a child inherits, and the variable that tells it the number."""

    variable: str
    number: int


DEFAULT_STOP: Final = (StopStep(signal=signal.SIGTERM, budget_seconds=10.0),)


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One component of an installation.

    `own` says that the program is ours (it may load libraries of the frozen application) and
    announces itself when `announces` is set. `takes_socket` says that it understands systemd's
    variables for a listening socket and for being ready.
    `data_directory` is what must never have two owners.
    `prepare` runs before each start, `probe` until it passes, `settle` once after that; only then
    the component is ready. Then `probe` is asked every `watch_seconds`; a process that is silent
    for `hang_seconds_max` is ended and started again. `death_signal` is what the kernel sends when
    the supervisor dies.
    """

    name: str
    kind: Kind = Kind.SERVICE
    argv: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    directory: Path | None = None
    account: Account | None = None
    descriptors: tuple[Descriptor, ...] = ()
    needs: tuple[str, ...] = ()
    own: bool = False
    announces: bool = False
    takes_socket: bool = False
    prepare: Action | None = None
    probe: Action | None = None
    settle: Action | None = None
    ready_seconds_max: float = READY_SECONDS_MAX
    watch_seconds: float = WATCH_SECONDS
    hang_seconds_max: float = HANG_SECONDS_MAX
    stop: tuple[StopStep, ...] = DEFAULT_STOP
    death_signal: signal.Signals = signal.SIGKILL
    quarantine: bool = False
    data_directory: Path | None = None
    open_files_max: int | None = None
    oom_score_adjust: int = 0
    parse_line: LineParser = parse_structured
    version: str = ""

    @property
    def stop_seconds_max(self) -> float:
        """The longest an ordered stop of this component can take."""
        return sum(step.budget_seconds for step in self.stop)
