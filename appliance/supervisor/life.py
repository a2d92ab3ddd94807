"""One run of one component: prepare, spawn, become ready, stay ready, end.

Invariant: every wait here is a race between what is hoped for, the end of the process, somebody's
wish to stop it, and a time limit. When `run` returns, the process of this run is gone. What follows
from a failure is decided in `tree.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

from appliance.base.errors import ApplianceError
from appliance.base.tasks import finish
from appliance.supervisor.bell import Bell
from appliance.supervisor.child import Child, describe_status
from appliance.supervisor.component import Component, Failure
from appliance.supervisor.identity import end_squatters
from appliance.supervisor.output import OutputSink
from appliance.supervisor.probe import Questioner, ask
from appliance.supervisor.spec import Kind
from appliance.supervisor.state import Event, State
from appliance.supervisor.surroundings import Surroundings

PREPARE_SECONDS_MAX: Final = 300.0
EXTERNAL_MISSES_MAX: Final = 3
_STOP_MARGIN_SECONDS: Final = 15.0
_CAUSE_CHARACTERS_MAX: Final = 300

Step = Coroutine[object, object, Failure | None]


class Life:
    """One run of a component. `move` changes its state."""

    def __init__(
        self,
        component: Component,
        around: Surroundings,
        *,
        bell: Bell,
        hurry: asyncio.Event,
        move: Callable[[Component, Event], None],
    ) -> None:
        self._component = component
        self._around = around
        self._bell = bell
        self._hurry = hurry
        self._move = move

    async def run(self) -> Failure | None:
        """Live until the end; None when it ended because somebody wanted that, or had completed.

        Whatever happens, also cancellation, the process is gone afterwards.
        """
        component = self._component
        try:
            failure = await self._attempt()
            if failure is None and component.state in {State.STARTING, State.READY}:
                self._move(component, Event.STOP)
        finally:
            await self._end()
        if component.state is State.STOPPING:
            self._move(component, Event.GONE)
        return failure

    async def _end(self) -> None:
        child = self._component.child
        if child is None:
            return
        spec = self._component.spec
        try:
            await finish(
                child.stop(spec.stop, hurry=self._hurry),
                timeout_seconds=spec.stop_seconds_max + _STOP_MARGIN_SECONDS,
            )
        finally:
            self._around.registry.remove(child.pid)
            self._component.child = None

    async def _attempt(self) -> Failure | None:
        component = self._component
        spec = component.spec
        failure = await self._race(self._prepare(), seconds=PREPARE_SECONDS_MAX)
        if failure is not None or component.interrupted:
            return failure
        if spec.kind is not Kind.EXTERNAL:
            try:
                self._spawn()
            except ApplianceError as error:
                return Failure(cause=error.message, error=error)
        if spec.kind is Kind.ONESHOT:
            return await self._complete()
        failure = await self._race(self._answer(), seconds=spec.ready_seconds_max)
        if failure is not None or component.interrupted:
            return failure
        component.cause = ""
        self._move(component, Event.ANSWER)
        return await self._race(self._watch(), seconds=None)

    async def _prepare(self) -> Failure | None:
        spec = self._component.spec
        if spec.data_directory is not None:
            ended = await end_squatters(
                spec.data_directory,
                spec.argv,
                stop_signal=spec.stop[0].signal,
                budget_seconds=spec.stop[0].budget_seconds,
            )
            if ended:
                self._around.book.note(spec.name, "leftovers_ended", "warning", pids=list(ended))
        return await _failure_of(spec.prepare()) if spec.prepare is not None else None

    def _spawn(self) -> None:
        component = self._component
        sink = OutputSink(
            self._around.book,
            component.name,
            parse=component.spec.parse_line,
            clock=self._around.clock,
            restart=component.restarts,
        )
        child = Child(component.spec, sink=sink, inherited=self._around.inherited)
        component.child = child
        component.sink = sink
        child.exited.add_done_callback(lambda _: self._bell.ring())
        self._around.registry.add(child.identity)

    async def _race(self, step: Step, *, seconds: float | None) -> Failure | None:
        """Run a step unless the process ends, somebody interrupts or the time passes first."""
        component = self._component
        child = component.child
        async with asyncio.TaskGroup() as group:
            task = group.create_task(step)
            task.add_done_callback(lambda _: self._bell.ring())
            in_time = await self._bell.until(
                lambda: component.interrupted or task.done() or _has_exited(child),
                timeout_seconds=seconds,
            )
            task.cancel()
        if component.interrupted:
            return None
        if child is not None and child.exited.done():
            return self._exit_failure(child)
        if not in_time:
            return Failure(cause=self._late(seconds))
        return task.result()

    async def _answer(self) -> Failure | None:
        component = self._component
        if component.spec.announces and component.child is not None:
            await asyncio.shield(component.child.announced)
        if component.spec.probe is not None:
            questioner = Questioner(component.spec.probe)
            component.questioner = questioner
            await questioner.until_answered()
        if component.spec.settle is not None:
            return await _failure_of(component.spec.settle())
        return None

    async def _watch(self) -> Failure | None:
        """Ask now and then; return only when the component must be given up for hung."""
        component = self._component
        spec = component.spec
        silent_since: float | None = None
        misses = 0
        while True:
            await asyncio.sleep(spec.watch_seconds)
            reason = await ask(spec.probe) if spec.probe is not None else ""
            now = self._around.clock.monotonic_seconds()
            if not reason:
                silent_since, misses = None, 0
                self._set_responsive("")
                continue
            silent_since = now if silent_since is None else silent_since
            misses += 1
            self._set_responsive(reason)
            external = spec.kind is Kind.EXTERNAL
            if (external and misses >= EXTERNAL_MISSES_MAX) or (
                not external and now - silent_since >= spec.hang_seconds_max
            ):
                return Failure(cause=f"does not answer any more: {reason}")

    def _set_responsive(self, reason: str) -> None:
        component = self._component
        if component.responsive == (not reason):
            return
        component.responsive = not reason
        component.cause = reason
        event = "component_answers_again" if component.responsive else "component_unresponsive"
        level = "info" if component.responsive else "warning"
        self._around.book.note(component.name, event, level, cause=reason)
        self._bell.ring()

    async def _complete(self) -> Failure | None:
        component = self._component
        child = component.child
        assert child is not None
        in_time = await self._bell.until(
            lambda: component.interrupted or child.exited.done(),
            timeout_seconds=component.spec.ready_seconds_max,
        )
        if component.interrupted and not child.exited.done():
            return None
        if not in_time:
            return Failure(cause=self._late(component.spec.ready_seconds_max))
        if child.exited.result() == 0:
            component.cause = ""
            self._move(component, Event.COMPLETE)
            return None
        return self._exit_failure(child)

    def _exit_failure(self, child: Child) -> Failure:
        status = child.exited.result()
        words = describe_status(status)
        said = self._component.sink.last_line if self._component.sink is not None else ""
        cause = f"{words}: {said}" if said else words
        return Failure(cause=cause[:_CAUSE_CHARACTERS_MAX], status=status)

    def _late(self, seconds: float | None) -> str:
        questioner = self._component.questioner
        reason = questioner.reason if questioner is not None else ""
        return f"not ready within {seconds:g} s" + (f": {reason}" if reason else "")


def _has_exited(child: Child | None) -> bool:
    return child is not None and child.exited.done()


async def _failure_of(action: Awaitable[None]) -> Failure | None:
    try:
        await action
    except ApplianceError as error:
        return Failure(cause=error.message, error=error)
    except OSError as error:
        return Failure(cause=error.strerror or str(error))
    return None
