"""Wait for a condition that several things may change, without polling.

Invariant: whoever changes something that others wait for rings; a waiter looks again after every
ring, so no change is missed however many happen at once.
"""

import asyncio
from collections.abc import Callable


class Bell:
    """Rings for every change of a supervised tree."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Something changed."""
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    async def until(
        self, holds: Callable[[], bool], *, timeout_seconds: float | None = None
    ) -> bool:
        """Wait until `holds()`; False when the time passed first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not holds():
                    if self._next is None:
                        self._next = asyncio.get_running_loop().create_future()
                    # Shielded: one waiter's cancellation must not wake the others.
                    await asyncio.shield(self._next)
        except TimeoutError:
            return holds()
        return True
