"""The scheduler: one of its processes leads and runs what is due, the others wait to take over.

Invariant: jobs run only between a lease taken and the moment it is lost, given back or not trusted
any more; then what runs is cancelled before anything else happens. An outage of a store ends the
lead and is waited out. What a job does is in `services/jobs/`, when it is due in
`domain/schedule.py`; what it needs in `scheduler_duty.py`.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from appliance.base.errors import ApplianceError
from appliance.base.tasks import finish, wait
from appliance.services.jobs.desk import Desk, Job
from appliance.services.jobs.run import JobRunner

WORKER_NAME: Final = "scheduler"
TICK_SECONDS: Final = 1.0
RELEASE_SECONDS_MAX: Final = 5.0

_LOG: Final = structlog.stdlib.get_logger()


class Scheduler:
    """One scheduler of possibly several; `run` it once."""

    def __init__(
        self, desk: Desk, jobs: Sequence[Job], *, tick_seconds: float = TICK_SECONDS
    ) -> None:
        self._lead = desk.lead
        self._runner = JobRunner(desk, jobs)
        self._names = frozenset(job.name for job in jobs)
        self._asked: dict[str, None] = {}
        self._tick_seconds = tick_seconds
        self._pause = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Lead or wait until `stop`."""
        while not stop.is_set():
            try:
                if await self._lead.take():
                    await self._serve(stop)
                self._pause = ""
            except* ApplianceError as group:
                self._note_pause(group)
            finally:
                self._lead.step_down()
            await wait(stop, self._lead.timing.look_seconds)

    def ask(self, message: bytes) -> None:
        """Run the job of this name soon, when this process leads; a name is kept once."""
        name = message.decode(errors="replace")
        if self._lead.leads and name in self._names:
            self._asked[name] = None

    async def _serve(self, stop: asyncio.Event) -> None:
        _LOG.info("scheduler_leads", holder=self._lead.holder)
        self._asked.clear()
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                await self._work(stop)
                renewing.cancel()
        finally:
            with suppress(ApplianceError, TimeoutError):
                await finish(self._lead.release(), timeout_seconds=RELEASE_SECONDS_MAX)
            _LOG.info("scheduler_stepped_down", holder=self._lead.holder)

    async def _work(self, stop: asyncio.Event) -> None:
        """Run what is due and what was asked for; cancelled by the group when the lease is lost."""
        await self._runner.take_over()
        ended: asyncio.Future[object] = asyncio.ensure_future(_over(stop))
        try:
            while not stop.is_set():
                await self._until(ended, asyncio.ensure_future(self._round()))
                await wait(stop, self._tick_seconds)
        finally:
            ended.cancel()

    async def _until(self, ended: asyncio.Future[object], working: asyncio.Future[None]) -> None:
        """Wait for a round of jobs; it is cancelled when the process is to stop."""
        try:
            await asyncio.wait({working, ended}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            if not working.done():
                working.cancel()
                with suppress(asyncio.CancelledError, ApplianceError):
                    await working

    async def _round(self) -> None:
        while self._asked:
            name = next(iter(self._asked))
            await self._runner.run_now(name)
            self._asked.pop(name, None)
        await self._runner.run_due()

    async def _renew(self) -> None:
        """Keep the lease; a database that does not answer is asked again while it is trusted."""
        while True:
            await asyncio.sleep(self._lead.timing.renew_seconds)
            try:
                await self._lead.renew()
            except ApplianceError as error:
                if not error.transient or not self._lead.leads:
                    raise
                _LOG.warning("lease_not_renewed", reason=error.reason)

    def _note_pause(self, group: BaseExceptionGroup[ApplianceError]) -> None:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, ApplianceError)
        if self._pause != error.reason:
            _LOG.warning("scheduler_paused", reason=error.reason, cause=error.message)
        self._pause = error.reason


async def _over(stop: asyncio.Event) -> object:
    return await stop.wait()
