"""What the supervisor knows about one component, and what it tells others.

Invariant: the state changes through `move` only, which consults the table of `state.py`.
"""

from typing import Final

import msgspec

from appliance.base.errors import ApplianceError
from appliance.supervisor.child import Child
from appliance.supervisor.identity import ProcessFacts, descendants, memory_bytes
from appliance.supervisor.output import OutputSink
from appliance.supervisor.probe import Questioner
from appliance.supervisor.spec import Kind, ProcessSpec
from appliance.supervisor.state import USABLE, Event, State, next_state

_AT_REST: Final = frozenset({State.QUARANTINED, State.FAILED})
"""States without a process and without a next start; a hold changes nothing there."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a component is not running any more: the cause in words, the status or error if any."""

    cause: str
    status: int | None = None
    error: ApplianceError | None = None


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A component changed its state; `seconds` is how long it was in the one before."""

    name: str
    kind: Kind
    before: State
    after: State
    seconds: float
    cause: str = ""
    retry_seconds: float | None = None


class ComponentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `status`."""

    name: str
    kind: Kind
    state: State
    ready: bool
    pid: int | None
    uptime_seconds: float
    restarts: int
    memory_bytes: int
    version: str
    cause: str
    external: bool
    held: bool = False


class Component:
    """One component of a running tree; owned by exactly one task."""

    def __init__(self, spec: ProcessSpec, *, now: float) -> None:
        self.spec = spec
        self.state = State.WAITING
        self.child: Child | None = None
        self.sink: OutputSink | None = None
        self.since = now
        self.ready_at: float | None = None
        self.starts = 0
        self.failures = 0
        self.cause = ""
        self.questioner: Questioner | None = None
        self.responsive = True
        self.stop_wanted = False
        self.restart_wanted = False
        self.held_by = ""
        self.held_until = 0.0

    @property
    def name(self) -> str:
        """The component's name."""
        return self.spec.name

    @property
    def usable(self) -> bool:
        """Whether those that need it may start."""
        return self.state in USABLE

    @property
    def ready(self) -> bool:
        """Whether it does now what it is for."""
        return self.usable and self.responsive

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(self.starts - 1, 0)

    @property
    def interrupted(self) -> bool:
        """Whether somebody wants its process to end."""
        return self.stop_wanted or self.restart_wanted or (self.held and self.state not in _AT_REST)

    @property
    def held(self) -> bool:
        """Whether it must not run for a while."""
        return bool(self.held_by)

    def move(self, event: Event, *, now: float, retry_seconds: float | None = None) -> Transition:
        """Change the state; an illegal event is a bug."""
        before = self.state
        self.state = next_state(before, event)
        seconds = now - self.since
        self.since = now
        self.ready_at = now if self.state is State.READY else None
        return Transition(
            name=self.name,
            kind=self.spec.kind,
            before=before,
            after=self.state,
            seconds=seconds,
            cause=self.cause,
            retry_seconds=retry_seconds,
        )

    def status(self, *, now: float, processes: tuple[ProcessFacts, ...]) -> ComponentStatus:
        """What there is to say about it now."""
        pid = self.child.pid if self.child is not None else None
        family = descendants(pid, processes) if pid is not None else ()
        return ComponentStatus(
            name=self.name,
            kind=self.spec.kind,
            state=self.state,
            ready=self.ready,
            pid=pid,
            uptime_seconds=round(now - self.ready_at, 3) if self.ready_at is not None else 0.0,
            restarts=self.restarts,
            memory_bytes=sum(map(memory_bytes, family)),
            version=self.spec.version,
            cause=self.cause,
            external=self.spec.kind is Kind.EXTERNAL,
            held=self.held,
        )
