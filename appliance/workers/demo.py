"""The duty of the demo: fill its project once, then keep it alive.

Invariant: nothing is done unless `demo.enabled`; a store that is away is waited for, and what could
not be handed over is dropped rather than piled up: it was invented. One process does it
[workers 6.2].
"""

import asyncio
import heapq
import random  # noqa: TID251 when invented visitors come; nothing secret comes from it
from collections import defaultdict
from datetime import datetime
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError
from appliance.base.ids import IdMaker
from appliance.base.tasks import wait
from appliance.config.model import Settings
from appliance.domain.ingest.event import Event
from appliance.domain.shop.rhythm import busyness
from appliance.domain.shop.visits import Visit, bot_visit
from appliance.services.demo_project import DemoProject, Sender, Shop, sender_of
from appliance.services.wiring import Services
from appliance.workers.duty import Duty
from appliance.workers.state import WorkerState

WORKER_NAME: Final = "demo"
PAUSE_SECONDS: Final = 5.0
TICK_SECONDS_MAX: Final = 1.0
GAP_SECONDS: Final = (1.0, 300.0)
"""Between two sessions, whatever chance says [workers 6.3]."""
WAITING_EVENTS_MAX: Final = 10_000
BOT_SHARE: Final = 0.04
"""Of the busiest hour's sessions, by day and by night."""

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
        self._waiting: list[tuple[int, int, Event, Sender]] = []
        self._begun = 0
        self._next_at_ms: int | None = None
        self._next_bot_ms = 0
        self._looked_ms = 0

    async def send_due(self, shop: Shop) -> int:
        """Begin the sessions whose time has come and hand over what is due; how many events.

        Who is behind them is told after their first events.
        """
        now = self._clock.now()
        now_ms = _milliseconds(now)
        self._begin_due(now, now_ms)
        due: defaultdict[Sender, list[Event]] = defaultdict(list)
        while self._waiting and self._waiting[0][0] <= now_ms:
            _, _, event, sender = heapq.heappop(self._waiting)
            due[sender].append(event)
        sent = 0
        for sender, events in due.items():
            sent += await self._demo.send(shop, events, sender)
            await self._demo.name_people(shop, {event.distinct_id for event in events})
        return sent

    def seconds_to_next(self) -> float:
        """How long nothing is to be done, but never long."""
        now_ms = _milliseconds(self._clock.now())
        times = [self._waiting[0][0]] if self._waiting else []
        if self._next_at_ms is not None:
            times.append(self._next_at_ms)
        return min(TICK_SECONDS_MAX, max(0.05, (min(times, default=now_ms) - now_ms) / 1000))

    def _begin_due(self, now: datetime, now_ms: int) -> None:
        if self._next_at_ms is None:
            self._next_at_ms, self._next_bot_ms, self._looked_ms = now_ms, now_ms, now_ms
        while self._next_at_ms <= now_ms:
            self._begin(self._demo.crowd.visit(f"live/{self._next_at_ms}", self._next_at_ms))
            self._next_at_ms = self._after(self._next_at_ms, self._peak * busyness(now), now_ms)
        while self._next_bot_ms <= now_ms:
            self._begin(bot_visit(f"live/{self._next_bot_ms}", self._next_bot_ms))
            self._next_bot_ms = self._after(self._next_bot_ms, self._peak * BOT_SHARE, now_ms)
        for visit in self._demo.crowd.newcomers(self._looked_ms, now_ms):
            self._begin(visit)
        self._looked_ms = max(self._looked_ms, now_ms)

    def _begin(self, visit: Visit | None) -> None:
        if visit is None:
            return
        for event in visit.events:
            if len(self._waiting) < WAITING_EVENTS_MAX and event.occur_time_ms is not None:
                self._begun += 1
                heapq.heappush(
                    self._waiting, (event.occur_time_ms, self._begun, event, sender_of(visit))
                )

    def _after(self, at_ms: int, per_minute: float, now_ms: int) -> int:
        """When the next one begins; not long ago, if we were stopped or the clock was set."""
        seconds = self._dice.expovariate(per_minute / 60)
        next_ms = at_ms + int(1000 * min(max(seconds, GAP_SECONDS[0]), GAP_SECONDS[1]))
        return now_ms if now_ms - next_ms > 1000 * GAP_SECONDS[1] else next_ms


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
