"""What a process of several workers runs: one duty is one worker.

Invariant: making a duty touches no network; running it may fail without harming the others.
"""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Struct

from appliance.workers.state import WorkerState


class Duty(Struct, frozen=True, kw_only=True):
    """One worker; `run` returns when `stop` is set and raises when the worker broke."""

    state: WorkerState
    run: Callable[[asyncio.Event], Awaitable[None]]

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.state.name
