"""The moment between two inserts: the events worker rests while the stores are linked.

Invariant: while the block runs no worker of this installation inserts anything; if that cannot be
said for certain any more at its end, the block fails. The queue takes events meanwhile. Whoever
holds the worker may be killed: then it goes on by itself within `HOLD_SECONDS`.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, NotFoundError, UnavailableError
from appliance.base.tasks import poll
from appliance.config.model import Settings
from appliance.supervisor.component import ComponentStatus
from appliance.supervisor.control import Command, Request, ask_supervisor
from appliance.supervisor.state import RUNNING

WORKER: Final = "events"
HOLDER: Final = "backup"
"""One name for all backups, because only one snapshot is made at a time; so a backup can take over
the hold of one that was killed."""
HOLD_SECONDS: Final = 10.0
_RENEW_SECONDS: Final = 2.0
_STOP_SECONDS_MAX: Final = 60.0
_POLL_SECONDS: Final = 0.02


class Hold:
    """How long the worker rested; filled in when the block ends."""

    def __init__(self) -> None:
        self.seconds = 0.0


@asynccontextmanager
async def worker_held(
    settings: Settings, clock: Clock, *, holder: str = HOLDER
) -> AsyncGenerator[Hold]:
    """Keep the events worker from running for the length of a block; `holder` says for whom.

    Raises UnavailableError when it does not come to rest, or may have run before the block ended.
    """
    path = settings.folders.control_socket
    hold = Hold()
    if not await is_running(settings):
        yield hold
        return
    started = clock.monotonic_seconds()
    await _ask(path, Command.HOLD, holder)
    try:
        # No group of tasks: the block's errors shall come out as they are.
        renewing = asyncio.ensure_future(_renew(path, holder))
        try:
            restarts = await _come_to_rest(path)
            yield hold
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
        after = await _worker(path)
        if not after.held or after.restarts != restarts:
            raise UnavailableError(
                "HOLD_OVER",
                "the events worker went on before the stores were linked",
                hint="try again when the machine is less busy",
            )
    finally:
        hold.seconds = clock.monotonic_seconds() - started
        with suppress(ApplianceError):
            await _ask(path, Command.RELEASE, holder)


async def is_running(settings: Settings) -> bool:
    """Whether a supervisor runs on the data directory."""
    path = settings.folders.control_socket
    try:
        await asyncio.to_thread(ask_supervisor, path, Request(command=Command.STATUS))
    except UnavailableError:
        return False
    return True


async def _ask(path: Path, command: Command, holder: str) -> None:
    request = Request(command=command, component=WORKER, holder=holder, seconds=HOLD_SECONDS)
    await asyncio.to_thread(ask_supervisor, path, request)


async def _worker(path: Path) -> ComponentStatus:
    answer = await asyncio.to_thread(ask_supervisor, path, Request(command=Command.STATUS))
    found = next((one for one in answer.components if one.name == WORKER), None)
    if found is None:
        raise NotFoundError("COMPONENT_UNKNOWN", "the appliance has no events worker")
    return found


async def _come_to_rest(path: Path) -> int:
    """Wait until the worker's process is gone; how often it had been started again by then."""

    async def at_rest() -> ComponentStatus | None:
        worker = await _worker(path)
        return worker if worker.state not in RUNNING else None

    worker = await poll(at_rest, every_seconds=_POLL_SECONDS, timeout_seconds=_STOP_SECONDS_MAX)
    if worker is None:
        raise UnavailableError("WORKER_BUSY", "the events worker does not come to rest")
    return worker.restarts


async def _renew(path: Path, holder: str) -> None:
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        with suppress(ApplianceError):
            await _ask(path, Command.HOLD, holder)
