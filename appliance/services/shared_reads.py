"""One reading of the stores for all who ask for the same at the same time.

Invariant: nobody gets what was read before they asked, unless the key says of what it was read.
An error goes to everyone who waits for it and is never kept; whoever leaves takes it from nobody
else, and the last one ends the reading (`base/tasks.py`). Used on one loop. Decision 0043.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from appliance.base.tasks import Joint

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Coalesced(Generic[Result]):
    """A reading of what changes: one runs, and one waits for all who came while it ran."""

    def __init__(self, read: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        self._read = read
        self._turn = asyncio.Lock()
        self._next: Joint[Result] | None = None

    async def get(self) -> Result:
        """What a reading gives that begins after this call; raises as the reading does."""
        if self._next is None or not self._next.is_good:
            self._next = Joint(self._read_in_turn)
        return await self._next.result()

    async def _read_in_turn(self) -> Result:
        async with self._turn:
            self._next = None  # whoever comes from now on is too late for this one
            return await self._read()


class Shared(Generic[Key, Result]):
    """Readings by key: those under way and the last few that are done."""

    def __init__(self, *, kept_max: int) -> None:
        self._kept_max = kept_max
        self._readings: OrderedDict[Key, Joint[Result]] = OrderedDict()

    async def get(self, key: Key, read: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result for a key, read now unless that was done before; raises as `read` does.

        What a key stands for must never change.
        """
        reading = self._readings.get(key)
        if reading is None or not reading.is_good:
            reading = self._readings[key] = Joint(read)
        self._readings.move_to_end(key)
        while len(self._readings) > self._kept_max:
            self._readings.popitem(last=False)
        try:
            return await reading.result()
        finally:
            if not reading.is_good and self._readings.get(key) is reading:
                del self._readings[key]
