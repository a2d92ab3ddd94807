"""How many questions this process asks the event store at once, and who is next.

Invariant: never more than `together` questions of a weight run, never more than `of_one_project`
of them for one project, and never more than a fixed number wait, each for a bounded time. Projects
take turns, so one that asks much waits for itself. Whoever does not fit is told to come again.
A question that ends, fails or is cancelled gives its place back. Decision 0037.
"""

import asyncio
import os
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from appliance.base.errors import ExhaustedError, Quota
from appliance.domain.insights.weight import Weight

QUESTIONS_METRIC: Final = "insights.questions_total"
"""Questions by what became of them: `at_once`, `waited`, `refused`, `left`."""

WAIT_SECONDS_MAX: Final = 20.0
"""Below the minute that dashboards wait, with room for the question itself."""

RETRY_SECONDS: Final = 5.0
WAITING_OF_ONE_PROJECT: Final = 64
"""Four boards of sixteen tiles; more than that is a program, which can come again."""

WAITING_TOGETHER: Final = 512
QUERIES_MAX: Final = 16
"""Of an engine whose own limit is not known here; ours has the same default."""


class Share(Struct, frozen=True, kw_only=True):
    """How many questions of a weight run at once: in all, and for one project."""

    together: int
    of_one_project: int


class QuestionSlots:
    """The places for questions of this process, all used on one loop.

    Without `shares` they are those beside an engine of the default size.
    """

    def __init__(
        self,
        shares: Mapping[Weight, Share] | None = None,
        *,
        wait_seconds: float = WAIT_SECONDS_MAX,
    ) -> None:
        if shares is None:
            shares = plan_shares(QUERIES_MAX)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._lanes = {
            weight: _Lane(share, wait_seconds, self.counts) for weight, share in shares.items()
        }

    @asynccontextmanager
    async def held(self, project_id: str, weight: Weight) -> AsyncGenerator[None]:
        """Hold a place; raises ExhaustedError with a time to come again when none is free."""
        lane = self._lanes[weight]
        await lane.enter(project_id)
        try:
            yield
        finally:
            lane.leave(project_id)

    def running(self, weight: Weight) -> int:
        """How many questions of a weight run now."""
        return self._lanes[weight].running.total()

    def waiting(self, weight: Weight) -> int:
        """How many questions of a weight wait now."""
        return self._lanes[weight].waiting_together


class _Lane:
    """The places of one weight."""

    def __init__(self, share: Share, wait_seconds: float, counts: Counter[tuple[str, str]]) -> None:
        self._share = share
        self._wait_seconds = wait_seconds
        self._counts = counts
        self.running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self.waiting_together = 0

    async def enter(self, project_id: str) -> None:
        # Whoever waits while a place is free waits for its own project, so nobody is passed by.
        if self._has_room(project_id) and project_id not in self._waiting:
            self.running[project_id] += 1
            self._count("at_once")
            return
        await self._wait(project_id)
        self._count("waited")

    def leave(self, project_id: str) -> None:
        self.running[project_id] -= 1
        if not self.running[project_id]:
            del self.running[project_id]
        self._call_next()

    async def _wait(self, project_id: str) -> None:
        queue = self._waiting.get(project_id, ())
        if len(queue) >= WAITING_OF_ONE_PROJECT or self.waiting_together >= WAITING_TOGETHER:
            self._count("refused")
            raise _full(project_id)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(project_id, deque()).append(turn)
        self.waiting_together += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            self._give_up(project_id, turn)
            if isinstance(error, TimeoutError):
                self._count("refused")
                raise _full(project_id) from error
            self._count("left")
            raise

    def _give_up(self, project_id: str, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():  # called in the same moment
            self.leave(project_id)
            return
        self._waiting[project_id].remove(turn)
        self._forget_one(project_id)

    def _call_next(self) -> None:
        for project_id in tuple(self._waiting):
            if not self._has_room(project_id):
                continue
            queue = self._waiting[project_id]
            # One that is cancelled takes itself out when its task runs.
            turn = next((one for one in queue if not one.done()), None)
            if turn is None:
                continue
            queue.remove(turn)
            self._waiting.move_to_end(project_id)
            self._forget_one(project_id)
            self.running[project_id] += 1
            turn.set_result(None)

    def _forget_one(self, project_id: str) -> None:
        self.waiting_together -= 1
        if not self._waiting[project_id]:
            del self._waiting[project_id]

    def _has_room(self, project_id: str) -> bool:
        return (
            self.running.total() < self._share.together
            and self.running[project_id] < self._share.of_one_project
        )

    def _count(self, outcome: str) -> None:
        self._counts[QUESTIONS_METRIC, outcome] += 1


def plan_shares(queries_max: int, cores: int | None = None) -> Mapping[Weight, Share]:
    """The shares of a process that answers people, of an engine that runs `queries_max` at once.

    A quarter of the engine stays free for what is stored and for what nobody waits for. No more
    heavy questions run than there are cores, or two: they would only share them, with rows, too.
    """
    cores = cores or len(os.sched_getaffinity(0))
    heavy = max(1, min(queries_max // 4, max(2, cores)))
    light = max(1, queries_max // 2)
    return {Weight.LIGHT: _share(light), Weight.HEAVY: _share(heavy)}


QUIET_SHARES: Final[Mapping[Weight, Share]] = {
    Weight.LIGHT: Share(together=1, of_one_project=1),
    Weight.HEAVY: Share(together=1, of_one_project=1),
}
"""Of a process whose questions nobody waits for."""


def _share(together: int) -> Share:
    return Share(together=together, of_one_project=max(1, together * 3 // 4))


def _full(project_id: str) -> ExhaustedError:
    return ExhaustedError(
        "RESOURCE_EXHAUSTED",
        "too many questions are being answered; ask again in a moment",
        quota=Quota(subject=f"project:{project_id}", description="questions at once"),
        retry_seconds=RETRY_SECONDS,
    )
