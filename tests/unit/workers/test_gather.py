"""Few large writes for many handlers."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from appliance.base.errors import InvalidInputError, UnavailableError
from appliance.workers.gather import Gathering

pytestmark = pytest.mark.anyio


class Store:
    """Takes even numbers; waits for `open`."""

    def __init__(self) -> None:
        self.writes: list[list[int]] = []
        self.open = asyncio.Event()
        self.failure: Exception | None = None

    async def write(self, items: Sequence[int]) -> None:
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        if any(item % 2 for item in items):
            raise InvalidInputError("ODD", "an odd number")
        self.writes.append(list(items))


@asynccontextmanager
async def running(store: Store) -> AsyncGenerator[Gathering[int]]:
    gathering = Gathering[int](store.write, pause_seconds=0.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(gathering.run())
        try:
            yield gathering
        finally:
            task.cancel()


async def outcomes(gathering: Gathering[int], items: Sequence[int]) -> list[str]:
    found = await asyncio.gather(*map(gathering.put, items), return_exceptions=True)
    return [type(each).__name__ if each else "stored" for each in found]


async def test_what_comes_meanwhile_is_one_write() -> None:
    store = Store()
    async with running(store) as gathering:
        store.open.set()
        assert await outcomes(gathering, range(0, 200, 2)) == ["stored"] * 100
    assert store.writes == [list(range(0, 200, 2))]


async def test_one_that_cannot_be_stored_fails_alone() -> None:
    store = Store()
    store.open.set()
    async with running(store) as gathering:
        found = await outcomes(gathering, [2, 3, 4])
    assert found == ["stored", "InvalidInputError", "stored"]
    assert store.writes == [[2], [4]]


async def test_a_store_that_is_away_is_told_to_all_and_asked_again() -> None:
    store = Store()
    store.open.set()
    store.failure = UnavailableError("UNAVAILABLE", "away")
    async with running(store) as gathering:
        assert await outcomes(gathering, [2, 4]) == ["UnavailableError"] * 2
        store.failure = None
        assert await outcomes(gathering, [2]) == ["stored"]


async def test_who_gives_up_does_not_disturb_the_others() -> None:
    store = Store()
    async with running(store) as gathering, asyncio.TaskGroup() as group:
        first = group.create_task(gathering.put(2))
        second = group.create_task(gathering.put(4))
        await asyncio.sleep(0)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        store.open.set()
        await second
    assert any(4 in write for write in store.writes)
