"""Places for questions: how many, whose turn, and what becomes of those who do not fit."""

import asyncio
from contextlib import AsyncExitStack
from typing import Self

import pytest

from appliance.base.errors import ExhaustedError
from appliance.domain.insights.weight import Weight
from appliance.services.question_slots import (
    QUESTIONS_METRIC,
    RETRY_SECONDS,
    WAITING_OF_ONE_PROJECT,
    QuestionSlots,
    Share,
    plan_shares,
)

pytestmark = pytest.mark.anyio

HEAVY = Weight.HEAVY
LONG_SECONDS = 60.0


def slots_of(together: int, of_one: int, *, seconds: float = LONG_SECONDS) -> QuestionSlots:
    share = Share(together=together, of_one_project=of_one)
    return QuestionSlots({HEAVY: share, Weight.LIGHT: share}, wait_seconds=seconds)


class Crowd:
    """Questions that hold their place until they are told to end; `began` in order."""

    def __init__(self, slots: QuestionSlots) -> None:
        self._slots = slots
        self.began: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._group = asyncio.TaskGroup()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for end in self._ends.values():
            end.set()
        await self._group.__aexit__(None, None, None)

    async def come(self, *names: str) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = self._group.create_task(self._ask(name))
        await settle()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settle()

    async def _ask(self, name: str) -> None:
        async with self._slots.held(name[0], HEAVY):
            self.began.append(name)
            await self._ends[name].wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_than_the_places_run():
    """Of five questions of five projects two run; each end lets in the next."""
    slots = slots_of(2, 2)
    async with Crowd(slots) as crowd:
        await crowd.come("a1", "b1", "c1", "d1", "e1")
        assert crowd.began == ["a1", "b1"]
        assert (slots.running(HEAVY), slots.waiting(HEAVY)) == (2, 3)
        await crowd.end("b1")
        assert crowd.began == ["a1", "b1", "c1"]
    assert (slots.running(HEAVY), slots.waiting(HEAVY)) == (0, 0)


async def test_a_project_cannot_take_all_places():
    """The third place stays free for somebody else, although one project has more to ask."""
    async with Crowd(slots_of(3, 2)) as crowd:
        await crowd.come("a1", "a2", "a3", "b1")
        assert crowd.began == ["a1", "a2", "b1"]


async def test_projects_take_turns():
    """A project with many questions in the queue does not come before one with a single one."""
    async with Crowd(slots_of(1, 1)) as crowd:
        await crowd.come("x1", "a1", "a2", "a3", "b1", "b2")
        for name in ("x1", "a1", "b1", "a2", "b2"):
            await crowd.end(name)
        assert crowd.began == ["x1", "a1", "b1", "a2", "b2", "a3"]


async def test_the_weights_do_not_wait_for_each_other():
    """A light question runs at once while every heavy place is taken."""
    slots = slots_of(1, 1)
    async with slots.held("a", HEAVY), slots.held("a", Weight.LIGHT):
        assert slots.running(Weight.LIGHT) == 1


async def test_who_waits_too_long_is_told_when_to_come_again():
    slots = slots_of(1, 1, seconds=0.0)
    async with slots.held("a", HEAVY):
        with pytest.raises(ExhaustedError) as caught:
            async with slots.held("b", HEAVY):
                pass
    assert caught.value.retry_seconds == RETRY_SECONDS
    assert caught.value.quota is not None
    assert caught.value.quota.subject == "project:b"
    assert slots.counts[QUESTIONS_METRIC, "refused"] == 1
    assert slots.waiting(HEAVY) == 0


async def test_a_full_queue_refuses_at_once():
    """The queue of a project is bounded; another project may still wait."""
    slots = slots_of(1, 1)
    async with Crowd(slots) as crowd:
        await crowd.come("a0", *(f"a{n}" for n in range(1, WAITING_OF_ONE_PROJECT + 1)))
        with pytest.raises(ExhaustedError):
            async with slots.held("a", HEAVY):
                pass
        await crowd.come("b1")
        assert slots.waiting(HEAVY) == WAITING_OF_ONE_PROJECT + 1
        await crowd.end("a0")
        await crowd.end("a1")
        assert "b1" in crowd.began


async def test_who_leaves_the_queue_is_not_called():
    slots = slots_of(1, 1)
    async with Crowd(slots) as crowd:
        await crowd.come("a1", "b1", "c1")
        crowd.tasks["b1"].cancel()
        await crowd.end("a1")
        assert crowd.began == ["a1", "c1"]
        assert slots.counts[QUESTIONS_METRIC, "left"] == 1


async def test_who_is_called_and_leaves_in_the_same_moment_gives_the_place_back():
    """Both orders of the two events, without a turn of the loop between them."""
    for leaves_first in (True, False):
        slots = slots_of(1, 1)
        async with Crowd(slots) as crowd, AsyncExitStack() as holding:
            await holding.enter_async_context(slots.held("x", HEAVY))
            await crowd.come("a1", "b1")
            if leaves_first:
                crowd.tasks["a1"].cancel()
                await holding.aclose()
            else:
                await holding.aclose()
                crowd.tasks["a1"].cancel()
            await settle()
            assert crowd.began == ["b1"], leaves_first
        assert (slots.running(HEAVY), slots.waiting(HEAVY)) == (0, 0)


async def test_a_failing_question_gives_its_place_back():
    slots = slots_of(1, 1)
    with pytest.raises(ZeroDivisionError):
        async with slots.held("a", HEAVY):
            _ = 1 // 0
    async with slots.held("a", HEAVY):
        assert slots.running(HEAVY) == 1


@pytest.mark.parametrize("queries_max", [1, 2, 3, 4, 8, 16, 100])
def test_the_engine_keeps_places_for_what_is_stored(queries_max: int):
    """From four places on a quarter stays free; below, every weight has one."""
    shares = plan_shares(queries_max, cores=64)
    used = sum(share.together for share in shares.values())
    assert used <= max(queries_max - queries_max // 4, 2)
    assert plan_shares(queries_max, cores=1)[HEAVY].together <= 2
    for share in shares.values():
        assert 1 <= share.of_one_project <= share.together
        assert share.of_one_project < share.together or share.together == 1
