"""An operation as data: named steps, each with a way forward and a way back.

Invariant: `do` and `undo` of a step can be called any number of times, also after they were cut off
in the middle; they look at the machine, never at the journal.
"""

from collections.abc import Awaitable, Callable

import msgspec

Action = Callable[[], Awaitable[None]]
"""One direction of a step; raises ApplianceError when it cannot be done."""


async def nothing() -> None:
    """The way back of a step that leaves nothing behind."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `name` goes into the journal, `title` is shown: a phrase like `copying files`."""

    name: str
    title: str
    do: Action
    undo: Action = nothing


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of one operation, in order.

    Until the step named `commit` is done, a failure or a crash leads back; afterwards the only way
    is forward. Without a commit step the way is always forward: the operation is repeated until it
    succeeds, as `install` is.
    """

    kind: str
    steps: tuple[Step, ...]
    commit: str = ""

    def committed_at(self) -> int:
        """The index of the first step from which there is no way back."""
        if not self.commit:
            return 0
        return next(i for i, step in enumerate(self.steps) if step.name == self.commit) + 1
