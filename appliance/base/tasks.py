"""Tasks that cannot be forgotten.

Invariant: the first failure in a group cancels the rest and reaches the caller as itself, and
cleanup runs to its end within a deadline even when it is itself cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Background:
    """Work whose end nobody waits for until `close`; so much at once, and no more."""

    def __init__(self, *, tasks_max: int) -> None:
        self._tasks_max = tasks_max
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Begin a piece of work that deals with its own errors; False when there is too much."""
        if len(self._tasks) >= self._tasks_max:
            return False
        task = asyncio.create_task(work())  # noqa: TID251 the one home of tasks outside a group
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def settle(self) -> None:
        """Wait for what is under way now, however long that takes."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self, *, timeout_seconds: float) -> None:
        """Wait for what is under way; what is not done in time is cancelled."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def finish(cleanup: Coroutine[Any, Any, Result], *, timeout_seconds: float) -> Result:
    """Run `cleanup` to its end although the caller is cancelled meanwhile.

    The cancellation is raised again afterwards. Raises the builtin TimeoutError when the deadline
    passes first.
    """

    async def bounded() -> Result:
        async with asyncio.timeout(timeout_seconds):
            return await cleanup

    task = asyncio.create_task(bounded())  # noqa: TID251 the one home of tasks outside a group
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()
        raise cancelled
    return task.result()


async def poll(
    question: Callable[[], Awaitable[Result | None]],
    *,
    every_seconds: float,
    timeout_seconds: float,
) -> Result | None:
    """Ask until there is an answer other than None, or None when the time is over."""
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                answer = await question()
                if answer is not None:
                    return answer
                await asyncio.sleep(every_seconds)
    except TimeoutError:
        return None


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait that long, or until the event is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
