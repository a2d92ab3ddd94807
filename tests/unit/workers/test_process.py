"""Several workers in one process: a broken one comes again, and nobody else notices."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from appliance.base.errors import MisconfiguredError
from appliance.base.tasks import poll
from appliance.workers.duty import Duty
from appliance.workers.process import serve_duties
from appliance.workers.state import WorkerState

pytestmark = pytest.mark.anyio


class Worker:
    """Breaks as often as told, then works until it is stopped."""

    def __init__(self, name: str, *, breaks: int = 0, stream: str = "") -> None:
        self.state = WorkerState(name=name, stream=stream)
        self.begun = 0
        self.working = asyncio.Event()
        self._breaks = breaks

    async def run(self, stop: asyncio.Event) -> None:
        self.begun += 1
        if self.begun <= self._breaks:
            raise MisconfiguredError("NO_SUCH_FILE", "missing")
        self.state.started, self.state.broken = True, ""
        self.working.set()
        await stop.wait()

    def duty(self) -> Duty:
        return Duty(state=self.state, run=self.run)


@asynccontextmanager
async def serving(*workers: Worker, connected: bool = True) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            serve_duties(
                [worker.duty() for worker in workers],
                stop,
                health_address="off",
                connected=lambda: connected,
                restart_seconds=0.001,
            )
        )
        try:
            yield
        finally:
            stop.set()


def _told(question: Callable[[], str]) -> Callable[[], Awaitable[str | None]]:
    async def ask() -> str | None:
        return question() or None

    return ask


async def test_broken_worker_begins_again_and_its_neighbour_never_stopped() -> None:
    broken, well = Worker("broken", breaks=3), Worker("well")
    async with serving(broken, well):
        await broken.working.wait()
        await well.working.wait()
    assert (broken.begun, well.begun) == (4, 1)
    assert broken.state.broken == ""


async def test_why_it_broke_is_told() -> None:
    broken = Worker("broken", breaks=10**9)
    async with serving(broken):
        assert await poll(_told(lambda: broken.state.broken), every_seconds=0, timeout_seconds=10)
    assert broken.state.broken == "NO_SUCH_FILE"


@pytest.mark.parametrize(("stream", "connected"), [("profiles", False), ("", True)])
async def test_only_workers_of_the_queue_miss_it(stream: str, connected: bool) -> None:
    worker = Worker("w", stream=stream)
    async with serving(worker, connected=False):
        await worker.working.wait()
        assert worker.state.connected is connected
