"""Tasks that cannot be forgotten.

Invariant: the first failure in a group cancels the rest and reaches the caller as itself, and
cleanup runs to its end within a deadline even when it is itself cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


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
