"""Tasks that cannot be forgotten.

Invariant: the first failure in a group cancels the rest and reaches the caller as itself, and
cleanup runs to its end within a deadline even when it is itself cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

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


class Joint(Generic[Result]):
    """One piece of work that several wait for; it is cancelled when the last of them leaves."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        """Begin; the work runs from the next time that the loop has a turn for it."""
        self._task = asyncio.create_task(work())  # noqa: TID251 the one home of tasks outside a group
        self._waiting = 0
        self._is_left = False

    @property
    def is_good(self) -> bool:
        """Whether whoever comes now gets a result: not failed, and not being cancelled."""
        if self._is_left:
            return False
        task = self._task
        return not task.done() or not (task.cancelled() or task.exception())

    async def result(self) -> Result:
        """What the work gives or raises, to everyone who waits."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self._task.done():
                self._is_left = True
                self._task.cancel()
                await asyncio.wait({self._task})


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
