"""Runs workers as one process: signals, health listener, READY, and what happens when one breaks.

Invariant: READY is announced once, when every worker has started or is known to be broken. A worker
that breaks rests and begins again; the others do not notice.
"""

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from appliance.base.errors import ApplianceError
from appliance.base.ready import announce_ready
from appliance.base.tasks import wait
from appliance.workers.duty import Duty
from appliance.workers.figures import Announce, tell_figures
from appliance.workers.health import HealthListener
from appliance.workers.state import WorkerState

WATCH_SECONDS: Final = 0.1
RESTART_SECONDS: Final = 5.0
BACKGROUND: Final = "background"

_LOG: Final = structlog.stdlib.get_logger()


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; workers act on it between messages."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def serve_duties(
    duties: Sequence[Duty],
    stop: asyncio.Event,
    *,
    health_address: str,
    connected: Callable[[], bool],
    announce: Announce | None = None,
    restart_seconds: float = RESTART_SECONDS,
) -> None:
    """Run all duties until `stop`; `connected` tells whether the queue is.

    `announce` sends their numbers to the API; without it nobody is told.
    """
    states = tuple(duty.state for duty in duties)
    ended = asyncio.Event()
    async with (
        HealthListener(health_address, states) as health,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(watch(states, health, ended, connected=connected))
        if announce is not None:
            group.create_task(tell_figures(announce, BACKGROUND, states, ended))
        try:
            async with asyncio.TaskGroup() as working:
                for duty in duties:
                    working.create_task(_keep(duty, stop, restart_seconds))
        finally:
            ended.set()
    for state in states:
        _LOG.info("worker_stopped", worker=state.name, blocks=state.blocks, rows=state.rows)


async def watch(
    states: Sequence[WorkerState],
    health: HealthListener,
    ended: asyncio.Event,
    *,
    connected: Callable[[], bool],
) -> None:
    """Keep the connection's state up to date until `ended`, and announce READY once."""
    announced = False
    while not ended.is_set():
        for state in states:
            state.connected = not state.stream or connected()
        if not announced and all(state.started or state.broken for state in states):
            announced = True
            announce_ready(port=health.port)
            for state in states:
                _LOG.info("worker_ready", worker=state.name, health_port=health.port)
        await wait(ended, WATCH_SECONDS)


async def _keep(duty: Duty, stop: asyncio.Event, restart_seconds: float) -> None:
    while not stop.is_set():
        try:
            await duty.run(stop)
        except Exception as error:  # noqa: BLE001 one duty's failure is not the others'
            duty.state.broken = (
                error.reason if isinstance(error, ApplianceError) else type(error).__name__
            )
            _LOG.exception("worker_broke", worker=duty.name, reason=duty.state.broken)
        await wait(stop, restart_seconds)
