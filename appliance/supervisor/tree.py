"""The loop: start in order, restart, stop in reverse.

Invariant: one task owns one component from its first start to its last stop, all tasks live in one
TaskGroup, and `run` returns only when no process is left. A cause travels up: the error that ends
`run` names the component and what it said last. One run of a component is `life.py`.
"""

import asyncio
import signal
from typing import Final

from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    MisconfiguredError,
    NotFoundError,
    UnavailableError,
)
from appliance.supervisor.backoff import Quarantine, count_failures, restart_verdict
from appliance.supervisor.bell import Bell
from appliance.supervisor.component import Component, ComponentStatus, Failure
from appliance.supervisor.graph import stop_levels
from appliance.supervisor.identity import living_processes
from appliance.supervisor.life import Life
from appliance.supervisor.spec import Kind, ProcessSpec
from appliance.supervisor.state import Event, State
from appliance.supervisor.surroundings import Surroundings

ONESHOT_FAILURES_MAX: Final = 5
_TIMER_SECONDS: Final = 0.05  # a timer may ring a little early
_EXIT_MISCONFIGURED: Final = 3
_EXIT_UNAVAILABLE: Final = 7
_GRAVE: Final = frozenset({State.BACKING_OFF, State.QUARANTINED, State.FAILED})


class Supervisor:
    """A tree of processes with one beginning and one end."""

    def __init__(self, specs: tuple[ProcessSpec, ...], around: Surroundings) -> None:
        self._around = around
        self._bell = Bell()
        self._hurry = asyncio.Event()
        self._stopping = False
        self._fatal: ApplianceError | None = None
        self._was_ready = False
        now = around.clock.monotonic_seconds()
        self._components = {spec.name: Component(spec, now=now) for spec in specs}
        self._levels = stop_levels({spec.name: spec.needs for spec in specs})

    async def run(self) -> None:
        """Keep the tree alive until `stop` is called.

        Raises ApplianceError naming component and cause when the tree cannot go on.
        """
        try:
            async with asyncio.TaskGroup() as owners:
                for component in self._components.values():
                    owners.create_task(self._own(component), name=component.name)
                await self._bell.until(lambda: self._stopping)
                await self._stop_in_order()
        finally:
            for component in self._components.values():
                if component.child is not None:
                    component.child.kill_group()
        if self._fatal is not None:
            raise self._fatal

    def stop(self) -> None:
        """Begin the ordered stop; asked a second time, nobody gets time any more."""
        if self._stopping:
            self._hurry.set()
        self._stopping = True
        self._bell.ring()

    def restart(self, name: str) -> None:
        """Stop one component and start it again, also out of quarantine.

        Raises NotFoundError for a name that is not a component here.
        """
        component = self._components.get(name)
        if component is None or component.spec.kind is Kind.EXTERNAL:
            ours = [one.name for one in self._components.values() if one.child is not None]
            raise NotFoundError(
                "COMPONENT_UNKNOWN",
                f"there is no component {name!r} to restart",
                hint="one of " + ", ".join(ours),
            )
        component.restart_wanted = True
        self._bell.ring()

    def hold(self, name: str, *, holder: str, seconds: float) -> None:
        """Stop one component and keep it stopped until `release`, or until the time is over.

        The same holder may ask again to have more time. Raises NotFoundError for a name that cannot
        be held and ConflictError while somebody else holds it.
        """
        component = self._components.get(name)
        if component is None or component.spec.kind is not Kind.SERVICE:
            raise NotFoundError("COMPONENT_UNKNOWN", f"there is no component {name!r} to hold")
        if component.held_by not in {"", holder}:
            raise ConflictError(
                "COMPONENT_HELD",
                f"{name} is held by somebody else",
                hint="wait until the other operation has ended",
            )
        component.held_by = holder
        component.held_until = self._around.clock.monotonic_seconds() + seconds
        asyncio.get_running_loop().call_later(seconds, self._end_hold, component, holder)
        self._around.book.note(name, "component_held", seconds=seconds)
        self._bell.ring()

    def release(self, name: str, *, holder: str) -> None:
        """End a hold.

        Raises NotFoundError when it is not in force any more: then the component may have run.
        """
        component = self._components.get(name)
        if component is None or component.held_by != holder:
            raise NotFoundError("HOLD_OVER", f"{name} is not held any more")
        component.held_by = ""
        self._around.book.note(name, "component_released")
        self._bell.ring()

    def _end_hold(self, component: Component, holder: str) -> None:
        now = self._around.clock.monotonic_seconds()
        if component.held_by == holder and now >= component.held_until - _TIMER_SECONDS:
            component.held_by = ""
            self._around.book.note(component.name, "component_hold_expired", "warning")
            self._bell.ring()

    async def all_ready(self) -> None:
        """Return when every component is ready; never when the tree stops before."""
        await self._bell.until(self.is_ready)

    def is_ready(self) -> bool:
        """Whether every component does what it is for."""
        return not self._stopping and all(one.ready for one in self._components.values())

    @property
    def stopping(self) -> bool:
        """Whether the ordered stop has begun."""
        return self._stopping

    def status(self) -> tuple[ComponentStatus, ...]:
        """What there is to say about every component now."""
        now = self._around.clock.monotonic_seconds()
        processes = living_processes()
        return tuple(
            component.status(now=now, processes=processes)
            for component in self._components.values()
        )

    async def _stop_in_order(self) -> None:
        for level in self._levels:
            members = [self._components[name] for name in level]
            for component in members:
                component.stop_wanted = True
            self._bell.ring()
            await self._bell.until(
                lambda members=members: all(one.state is State.STOPPED for one in members)
            )

    async def _own(self, component: Component) -> None:
        while component.state is not State.STOPPED:
            await self._bell.until(
                lambda: (
                    component.stop_wanted
                    or (not self._stopping and not component.held and self._has_needs(component))
                )
            )
            if component.stop_wanted:
                self._move(component, Event.STOP)
                return
            component.restart_wanted = False
            component.starts += 1
            component.responsive = True
            self._move(component, Event.START)
            failure = await Life(
                component, self._around, bell=self._bell, hurry=self._hurry, move=self._move
            ).run()
            await self._go_on(component, failure)

    async def _go_on(self, component: Component, failure: Failure | None) -> None:
        """After one run: rest, wait for a wish, or end."""
        retry_seconds: float | None = None
        if failure is not None:
            retry_seconds = self._judge(component, failure)
        if component.state is not State.STOPPED:
            await self._bell.until(lambda: component.interrupted, timeout_seconds=retry_seconds)
        if component.stop_wanted:
            if component.state is not State.STOPPED:
                self._move(component, Event.STOP)
            return
        if component.restart_wanted:
            component.failures = 0
        self._move(component, Event.RELEASE)

    def _judge(self, component: Component, failure: Failure) -> float | None:
        """Decide what follows from a failure; seconds until the next start, None for never."""
        now = self._around.clock.monotonic_seconds()
        lived = now - component.ready_at if component.ready_at is not None else 0.0
        component.failures = count_failures(
            component.failures, ready_seconds=lived, killed=failure.status == -signal.SIGKILL
        )
        component.cause = failure.cause
        if self._is_final(component, failure):
            self._move(component, Event.FAIL)
            return None
        verdict = restart_verdict(
            component.failures,
            may_quarantine=component.spec.quarantine,
            jitter=self._around.jitter(),
        )
        if isinstance(verdict, Quarantine):
            self._move(component, Event.QUARANTINE)
            self._give_up_start(component, failure)
            return None
        self._move(component, Event.RETRY_LATER, retry_seconds=verdict.delay_seconds)
        limit = self._around.start_failures_max
        if limit is not None and component.failures >= limit:
            self._give_up_start(component, failure)
        return verdict.delay_seconds

    def _is_final(self, component: Component, failure: Failure) -> bool:
        """Whether this failure ends the start of the whole tree."""
        if component.state is not State.STARTING or self._was_ready:
            return False
        oneshot = component.spec.kind is Kind.ONESHOT
        refused = failure.status is not None and failure.status > 0
        final = (failure.error is not None and not failure.error.transient) or (
            oneshot
            and (
                (refused and failure.status != _EXIT_UNAVAILABLE)
                or component.failures >= ONESHOT_FAILURES_MAX
            )
        )
        if final:
            self._end_with(component, failure)
        return final

    def _give_up_start(self, component: Component, failure: Failure) -> None:
        if not self._was_ready and self._around.start_failures_max is not None:
            self._end_with(component, failure)

    def _end_with(self, component: Component, failure: Failure) -> None:
        if self._fatal is None:
            self._fatal = _fatal_error(component, failure)
        if not self._stopping:
            self.stop()

    def _has_needs(self, component: Component) -> bool:
        return all(self._components[name].usable for name in component.spec.needs)

    def _move(
        self, component: Component, event: Event, *, retry_seconds: float | None = None
    ) -> None:
        now = self._around.clock.monotonic_seconds()
        transition = component.move(event, now=now, retry_seconds=retry_seconds)
        grave = transition.after in _GRAVE
        fields: dict[str, object] = {"seconds": round(transition.seconds, 3)}
        if grave:
            fields["cause"] = component.cause
        if retry_seconds is not None:
            fields["retry_seconds"] = round(retry_seconds, 3)
        self._around.book.note(
            component.name,
            f"component_{transition.after.lower()}",
            "warning" if grave else "info",
            **fields,
        )
        self._was_ready = self._was_ready or self.is_ready()
        if self._around.on_change is not None:
            self._around.on_change(transition)
        self._bell.ring()


def _fatal_error(component: Component, failure: Failure) -> ApplianceError:
    if failure.error is not None:
        return failure.error
    kind = MisconfiguredError if failure.status == _EXIT_MISCONFIGURED else UnavailableError
    times = f" after {component.failures} attempts" if component.failures > 1 else ""
    return kind(
        "COMPONENT_FAILED",
        f"{component.name} {failure.cause}{times}",
        hint=f"`pug-appliance logs {component.name}` shows what it said",
    )
