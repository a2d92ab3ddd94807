"""Readings that several wait for: who gets which, and what becomes of errors and of leavers."""

import asyncio

import pytest

from appliance.base.errors import UnavailableError
from appliance.services.shared_reads import Coalesced, Shared

pytestmark = pytest.mark.anyio


class _Store:
    """Readings that end when the test says so; each gives its number."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.together_max = 0
        self._running = 0
        self._ends: list[asyncio.Future[None]] = []

    async def read(self) -> int:
        self.begun += 1
        number = self.begun
        self._running += 1
        self.together_max = max(self.together_max, self._running)
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ends.append(end)
        try:
            await end
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._running -= 1
        return number

    def end(self, number: int, error: Exception | None = None) -> None:
        if error is not None:
            self._ends[number - 1].set_exception(error)
        else:
            self._ends[number - 1].set_result(None)


async def _turns() -> None:
    """As many turns of the loop as everything that can go on needs."""
    for _ in range(20):
        await asyncio.sleep(0)


async def _ask(question, times: int = 1) -> list[asyncio.Task[int]]:
    asked = [asyncio.create_task(question()) for _ in range(times)]
    await _turns()
    return asked


async def test_those_who_come_together_share_a_reading() -> None:
    store = _Store()
    reads = Coalesced(store.read)
    asked = await _ask(reads.get, 26)
    store.end(1)
    assert await asyncio.gather(*asked) == [1] * 26
    assert store.begun == 1


async def test_who_comes_while_one_runs_gets_the_next_one() -> None:
    """Never the running one, which may have looked already; and they share it."""
    store = _Store()
    reads = Coalesced(store.read)
    first = await _ask(reads.get)
    late = await _ask(reads.get, 5)
    assert store.begun == 1
    store.end(1)
    await _turns()
    later = await _ask(reads.get, 2)
    store.end(2)
    await _turns()
    store.end(3)
    assert await asyncio.gather(*first, *late, *later) == [1] + [2] * 5 + [3] * 2
    assert store.together_max == 1


async def test_an_error_goes_to_all_who_wait_and_to_nobody_later() -> None:
    store = _Store()
    reads = Coalesced(store.read)
    failing, waiting = await _ask(reads.get, 2), await _ask(reads.get, 2)
    store.end(1, UnavailableError("CLICKHOUSE_AWAY", "away"))
    await _turns()
    store.end(2)
    results = await asyncio.gather(*failing, *waiting, return_exceptions=True)
    assert [type(one) for one in results] == [UnavailableError, UnavailableError, int, int]


async def test_who_leaves_takes_it_from_nobody() -> None:
    store = _Store()
    reads = Coalesced(store.read)
    leaving, staying = await _ask(reads.get, 2)
    leaving.cancel()
    await _turns()
    store.end(1)
    assert await staying == 1
    assert leaving.cancelled()
    assert store.cancelled == 0


async def test_when_all_leave_the_reading_ends_and_the_next_begins() -> None:
    store = _Store()
    reads = Coalesced(store.read)
    leaving = await _ask(reads.get, 2)
    waiting = await _ask(reads.get, 2)
    for one in leaving:
        one.cancel()
    await asyncio.wait(leaving)
    assert store.cancelled == 1
    await _turns()
    store.end(2)
    assert await asyncio.gather(*waiting) == [2, 2]


async def test_those_who_wait_may_leave_before_their_turn() -> None:
    """Nothing was begun for them, and whoever comes then is not lost with them."""
    store = _Store()
    reads = Coalesced(store.read)
    first = await _ask(reads.get)
    waiting = await _ask(reads.get, 2)
    for one in waiting:
        one.cancel()
    later = [asyncio.create_task(reads.get())]
    await _turns()
    store.end(1)
    await _turns()
    assert store.begun == 2
    store.end(2)
    assert await asyncio.gather(*first, *later) == [1, 2]


async def test_a_key_is_read_once_and_another_key_by_itself() -> None:
    store = _Store()
    shared: Shared[str, int] = Shared(kept_max=4)
    asked = await _ask(lambda: shared.get("a", store.read), 3)
    other = await _ask(lambda: shared.get("b", store.read))
    store.end(2)
    store.end(1)
    assert await asyncio.gather(*asked, *other) == [1, 1, 1, 2]
    assert await shared.get("a", store.read) == 1
    assert store.begun == 2


async def test_an_error_of_a_key_is_never_kept() -> None:
    store = _Store()
    shared: Shared[str, int] = Shared(kept_max=4)
    asked = await _ask(lambda: shared.get("a", store.read), 3)
    store.end(1, UnavailableError("CLICKHOUSE_AWAY", "away"))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in results] == [UnavailableError] * 3
    again = await _ask(lambda: shared.get("a", store.read))
    store.end(2)
    assert await asyncio.gather(*again) == [2]


async def test_leaving_a_key_cancels_it_only_for_the_last() -> None:
    store = _Store()
    shared: Shared[str, int] = Shared(kept_max=4)
    one, two = await _ask(lambda: shared.get("a", store.read), 2)
    one.cancel()
    await _turns()
    assert store.cancelled == 0
    two.cancel()
    (late,) = await _ask(lambda: shared.get("a", store.read))
    assert store.cancelled == 1
    store.end(2)
    assert await late == 2


async def test_only_the_last_few_are_kept() -> None:
    shared: Shared[int, int] = Shared(kept_max=2)
    begun: list[int] = []

    async def get(key: int) -> int:
        async def read() -> int:
            begun.append(key)
            return key

        return await shared.get(key, read)

    for key in (1, 2, 1, 3, 1, 2):
        assert await get(key) == key
    assert begun == [1, 2, 3, 2]
