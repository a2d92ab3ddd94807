"""Gathers what parallel handlers write into few large writes.

Invariant: `put` returns when the item is stored, and one item that cannot be stored fails alone.
One write is under way at a time, and begins `pause_seconds` after the one before at the earliest;
what comes meanwhile goes into the next one. An item that comes alone is written at once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from appliance.base.errors import InvalidInputError

ITEMS_MAX: Final = 1000
PAUSE_SECONDS: Final = 0.1
"""Each write is a file of the event store, with its own flush to the disk and its own merging."""

Item = TypeVar("Item")


class Gathering(Generic[Item]):
    """Writes items in groups; `run` it beside the handlers that `put`."""

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[None]],
        *,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._write = write
        self._pause_seconds = pause_seconds
        self._waiting: deque[tuple[Item, asyncio.Future[None]]] = deque()
        self._arrived = asyncio.Event()

    async def put(self, item: Item) -> None:
        """Have an item stored; raises what its write raised."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, stored))
        self._arrived.set()
        await stored

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                count = min(len(self._waiting), ITEMS_MAX)
                await self._store([self._waiting.popleft() for _ in range(count)])
                await asyncio.sleep(self._pause_seconds)

    async def _store(self, group: list[tuple[Item, asyncio.Future[None]]]) -> None:
        # who has given up meanwhile is tried again by the queue
        wanted = [(item, stored) for item, stored in group if not stored.done()]
        if not wanted:
            return
        try:
            await self._write([item for item, _ in wanted])
        except InvalidInputError as error:
            if len(wanted) == 1:
                _tell(wanted, error)
                return
            for each in wanted:
                await self._store([each])
        except Exception as error:  # noqa: BLE001 it belongs to those who wait for it
            _tell(wanted, error)
        else:
            _tell(wanted, None)


def _tell(group: list[tuple[Item, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, stored in group:
        if stored.done():
            continue
        if error is None:
            stored.set_result(None)
        else:
            stored.set_exception(error)
