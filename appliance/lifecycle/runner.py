"""Run the steps of an operation, journalled, and finish or undo one that was cut off.

Invariant: whenever this process ends, by whatever means, the journal and the machine together say
what `resume` has to do; afterwards the installation is wholly as before or wholly as wanted.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, UnmetError
from appliance.lifecycle.journal import Journal, Mark, Outcome
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.steps import Plan, Step

EXIT_ROLLED_BACK: Final = 6

Drill = Callable[[str, Mark], None]
"""Called after each line of the journal; a drill may end the process there."""


def no_drill(step: str, mark: Mark) -> None:
    """Let everything go on."""
    del step, mark


class RolledBackError(UnmetError):
    """The operation failed and everything it had changed was put back."""

    exit_status = EXIT_ROLLED_BACK


class Runner(msgspec.Struct, frozen=True, kw_only=True):
    """What running needs besides the plan."""

    journal: Journal
    progress: Progress
    clock: Clock
    drill: Drill = no_drill

    async def run(self, plan: Plan) -> None:
        """Do every step that is not done.

        Raises RolledBackError when a step before the commit failed (its cause is chained), and the
        step's own error after it; then the journal stays open and `resume` goes forward again.
        """
        for index, step in enumerate(plan.steps):
            if self.journal.has(step.name, Mark.DONE):
                continue
            try:
                await self._do(step)
            except BaseException as error:
                if index < plan.committed_at():
                    await self._back_after(plan, step, error)
                raise
        self.journal.close(Outcome.DONE)

    async def resume(self, plan: Plan) -> Outcome:
        """Bring a cut-off operation to its end, forward after the commit, else back."""
        committed = plan.commit == "" or self.journal.has(plan.commit, Mark.DONE)
        if committed and not self.journal.undoing:
            await self.run(plan)
            return Outcome.DONE
        await self._back(plan)
        return Outcome.UNDONE

    async def _do(self, step: Step) -> None:
        self._record(step, Mark.BEGUN)
        self.progress.begin(step.name, step.title)
        started = self.clock.monotonic_seconds()
        await step.do()
        self._record(step, Mark.DONE)
        self.progress.end(step.name, self.clock.monotonic_seconds() - started)

    async def _back_after(self, plan: Plan, step: Step, error: BaseException) -> None:
        task = asyncio.current_task()
        # A cancelled operation still has to be undone; a second signal cannot cut that short.
        if isinstance(error, asyncio.CancelledError) and task is not None:
            task.uncancel()
        await self._back(plan)
        if isinstance(error, ApplianceError):
            raise RolledBackError(
                "ROLLED_BACK",
                f"{plan.kind} failed while {step.title} and was undone: {error.message}",
                hint=error.hint or "everything is as it was before",
            ) from error

    async def _back(self, plan: Plan) -> None:
        for step in reversed(plan.steps):
            if not self.journal.has(step.name, Mark.BEGUN) or self.journal.has(
                step.name, Mark.UNDONE
            ):
                continue
            self._record(step, Mark.UNDOING)
            self.progress.begin(step.name, f"undoing: {step.title}")
            started = self.clock.monotonic_seconds()
            await step.undo()
            self._record(step, Mark.UNDONE)
            self.progress.end(step.name, self.clock.monotonic_seconds() - started)
        self.journal.close(Outcome.UNDONE)

    def _record(self, step: Step, mark: Mark) -> None:
        self.journal.record(step.name, mark)
        self.drill(step.name, mark)


def power_cut(place: str) -> Drill:
    """A drill that kills this process after one line of the journal, named like `switch.begun`.

    Operators rehearse a power cut with it (`PUG_DRILL`), and so do the tests.
    """
    wanted, _, mark = place.rpartition(".")

    def cut(step: str, happened: Mark) -> None:
        if step == wanted and happened.value == mark:
            os.kill(os.getpid(), signal.SIGKILL)

    return cut
