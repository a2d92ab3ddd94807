"""Cleanup that cannot be cut short, and bounded polling."""

import asyncio

import pytest

from appliance.base.tasks import Background, finish, poll

pytestmark = pytest.mark.anyio


async def test_cleanup_runs_to_its_end_although_cancelled() -> None:
    """The cancellation arrives after the cleanup, not instead of it."""
    started, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def cleanup() -> None:
        started.set()
        await go_on.wait()
        done.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(finish(cleanup(), timeout_seconds=30))
        await started.wait()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
    assert done.is_set()
    assert task.cancelled()


async def test_cleanup_has_a_deadline_and_a_result() -> None:
    """A cleanup that hangs ends; one that ends gives its result."""

    async def answer() -> int:
        return 7

    assert await finish(answer(), timeout_seconds=30) == 7
    with pytest.raises(TimeoutError):
        await finish(asyncio.Event().wait(), timeout_seconds=0)


async def test_poll_asks_until_there_is_an_answer() -> None:
    """None means ask again; the time limit answers None."""
    answers = iter([None, None, "yes"])

    async def question() -> str | None:
        return next(answers)

    async def never() -> str | None:
        return None

    assert await poll(question, every_seconds=0, timeout_seconds=30) == "yes"
    assert await poll(never, every_seconds=0, timeout_seconds=0.01) is None


async def test_background_work_is_bounded_and_waited_for() -> None:
    """What does not end in time is cancelled; closing twice is no error."""
    background, go_on, ended = Background(tasks_max=2), asyncio.Event(), []

    async def patient() -> None:
        await go_on.wait()
        ended.append("patient")

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("endless")

    assert background.start(patient)
    assert background.start(endless)
    assert not background.start(patient)
    go_on.set()
    await background.close(timeout_seconds=0.05)
    assert ended == ["patient", "endless"]
    await background.close(timeout_seconds=0)
    assert background.start(patient)
    await background.close(timeout_seconds=30)
    assert ended[-1] == "patient"
