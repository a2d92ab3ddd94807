"""The duty of the demo: fill its project once, then keep it alive.

Invariant: nothing is done unless `demo.enabled`; a store that is away is waited for, and what could
not be handed over is dropped rather than piled up: it was invented. One process does it
[workers 6.2].
"""

import asyncio
import heapq
import random  # noqa: TID251 when invented visitors come; nothing secret comes from it
from datetime import UTC, datetime
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError
from appliance.base.ids import IdMaker
from appliance.base.tasks import wait
from appliance.config.model import Settings
from appliance.domain.demo import busyness, visit
from appliance.domain.ingest.event import Event
from appliance.services.demo_project import DemoProject, Shop
from appliance.services.wiring import Services
from appliance.workers.duty import Duty
from appliance.workers.state import WorkerState

WORKER_NAME: Final = "demo"
PAUSE_SECONDS: Final = 5.0
TICK_SECONDS_MAX: Final = 1.0
GAP_SECONDS: Final = (1.0, 300.0)
"""Between two sessions, whatever chance says [workers 6.3]."""
WAITING_EVENTS_MAX: Final = 10_000

_LOG: Final = structlog.stdlib.get_logger()


def demo_duty(services: Services, settings: Settings, clock: Clock) -> Duty:
    """Fill the demo and keep it alive; where it is off, idle [workers 6.1]."""
    state = WorkerState(name=WORKER_NAME, started=True)
    demo = DemoProject(services, settings.demo, clock=clock, ids=IdMaker(clock))
    traffic = Traffic(demo, settings.demo.peak_sessions_per_minute, clock)

    async def run(stop: asyncio.Event) -> None:
        state.broken = ""
        if not settings.demo.enabled:
            await stop.wait()
            return
        shop: Shop | None = None
        filled = False
        while not stop.is_set():
            try:
                shop = shop or await demo.ensure()
                if shop is None:
                    await stop.wait()
                    return
                if not filled:
                    state.rows += await demo.back_fill(shop)
                    filled = True
                state.rows += await traffic.send_due(shop)
                state.pause = ""
            except ApplianceError as error:
                state.pause = error.reason
                _LOG.warning("demo_waits", reason=error.reason)
                await wait(stop, PAUSE_SECONDS)
                continue
            await wait(stop, traffic.seconds_to_next())

    return Duty(state=state, run=run)


class Traffic:
    """Sessions that begin at random, more by day than by night; each event when its time comes."""

    def __init__(self, demo: DemoProject, peak_per_minute: float, clock: Clock) -> None:
        self._demo = demo
        self._peak = peak_per_minute
        self._clock = clock
        self._dice = random.Random()  # noqa: S311 when visitors come, not a secret
        self._waiting: list[tuple[int, int, Event]] = []
        self._begun = 0
        self._next_at_ms: int | None = None

    async def send_due(self, shop: Shop) -> int:
        """Begin the sessions whose time has come and hand over what is due; how many events."""
        now = self._clock.now()
        now_ms = _milliseconds(now)
        if self._next_at_ms is None:
            self._next_at_ms = now_ms
        while self._next_at_ms <= now_ms:
            self._begin(self._next_at_ms)
            self._next_at_ms += self._gap_ms(now)
            if now_ms - self._next_at_ms > 1000 * GAP_SECONDS[1]:
                self._next_at_ms = now_ms  # we were stopped, or the clock was set
        due: list[Event] = []
        while self._waiting and self._waiting[0][0] <= now_ms:
            due.append(heapq.heappop(self._waiting)[2])
        return await self._demo.send(shop, due) if due else 0

    def seconds_to_next(self) -> float:
        """How long nothing is to be done, but never long."""
        now_ms = _milliseconds(self._clock.now())
        times = [self._waiting[0][0]] if self._waiting else []
        if self._next_at_ms is not None:
            times.append(self._next_at_ms)
        return min(TICK_SECONDS_MAX, max(0.05, (min(times, default=now_ms) - now_ms) / 1000))

    def _begin(self, at_ms: int) -> None:
        start = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
        for event in visit(self._demo.endless, at_ms, start):
            if len(self._waiting) < WAITING_EVENTS_MAX and event.occur_time_ms is not None:
                self._begun += 1
                heapq.heappush(self._waiting, (event.occur_time_ms, self._begun, event))

    def _gap_ms(self, now: datetime) -> int:
        per_second = self._peak * busyness(now) / 60
        seconds = self._dice.expovariate(per_second)
        return int(1000 * min(max(seconds, GAP_SECONDS[0]), GAP_SECONDS[1]))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
