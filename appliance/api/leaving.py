"""Callers who go away: nobody works for somebody who no longer listens.

Invariant: the work has ended, or was cancelled and has noticed, before these return; its error is
raised as it is, without a group around it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from litestar.types import Receive

Result = TypeVar("Result")


async def until_gone(receive: Receive) -> None:
    """Return when the caller is gone; what comes of a body meanwhile is thrown away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(
    work: Awaitable[Result],
    receive: Receive,
    *,
    tell: Callable[[], object] | None = None,
    patience_seconds: float = 0.0,
) -> Result | None:
    """What comes of the work; None when the caller goes away first, which cancels the work.

    `tell` is called before, and then the work has some seconds to end by itself. The body must have
    been read: what comes after it is only the caller's leaving. Raises what the work raises.
    """
    results: list[Result] = []
    failures: list[Exception] = []

    async def answer() -> None:
        try:
            results.append(await work)
        except Exception as error:  # noqa: BLE001 raised again below, without a group around it
            failures.append(error)

    async def watch(serving: "asyncio.Task[None]") -> None:
        await until_gone(receive)
        if tell is not None:
            tell()
        await asyncio.wait({serving}, timeout=patience_seconds)
        serving.cancel()

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(answer())
        watching = group.create_task(watch(serving))
        serving.add_done_callback(lambda _: watching.cancel())
    if failures:
        raise failures[0]
    return results[0] if results else None
