"""Runs jobs that are due, one after the other, and records how each run ended.

Invariant: a run is recorded before it begins and after it ended, both fenced; what a killed leader
left open is closed as failed by the next one and made again. A failing job keeps no other from
running. Growth is bounded: the newest `RUNS_KEPT` runs of a job stay.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from appliance.base.errors import ApplianceError
from appliance.base.tasks import finish
from appliance.domain.schedule import LastRun, Outcome, PlannedRun, newest_due, plan_run
from appliance.services.jobs.desk import Desk, Job
from appliance.storage.postgres.jobs import (
    LEASE_LOST,
    begin_run,
    end_run,
    fail_abandoned,
    load_last_runs,
)

RUNS_KEPT: Final = 50
RECORD_SECONDS_MAX: Final = 10.0
SILENCE_MAX: Final = timedelta(days=7)
"""A longer one was a machine that was off, or a clock that is wrong: nobody can tell at once."""
_LEFT_ALONE: Final = (
    "left everything alone: by the clock no job ran for {} days; "
    "if the clock is right, the next run takes away what is due"
)
STOPPED: Final = "stopped before it was done"

_LOG: Final = structlog.stdlib.get_logger()


class JobRunner:
    """The jobs of one leader."""

    def __init__(self, desk: Desk, jobs: Sequence[Job]) -> None:
        self._desk = desk
        self._jobs = tuple(jobs)

    async def take_over(self) -> None:
        """Close what an earlier leader left open."""
        async with self._desk.lead.fenced() as transaction:
            await fail_abandoned(transaction, now=self._desk.clock.now())

    async def run_due(self) -> int:
        """Run every job that is due; how many ran."""
        last = await load_last_runs(self._desk.stores.postgres, [job.name for job in self._jobs])
        silence = find_silence(last.values(), self._desk.clock.now())
        count = 0
        for job in self._jobs:
            planned = plan_run(job.schedule, last.get(job.name), self._desk.clock.now())
            if planned is not None:
                await self._run(job, planned, silence=silence)
                count += 1
        return count

    async def run_now(self, name: str) -> Outcome | None:
        """Run one job although it is not due; None when no job has this name."""
        job = next((job for job in self._jobs if job.name == name), None)
        if job is None:
            return None
        due = newest_due(job.schedule, self._desk.clock.now())
        return await self._run(job, PlannedRun(due_at=due))

    async def _run(
        self, job: Job, planned: PlannedRun, *, silence: timedelta | None = None
    ) -> Outcome:
        desk = self._desk
        started_at = desk.clock.now()
        began = desk.clock.monotonic_seconds()
        async with desk.lead.fenced() as transaction:
            await begin_run(
                transaction,
                name=job.name,
                started_at=started_at,
                due_at=planned.due_at,
                leader=desk.lead.holder,
            )
        outcome, detail = Outcome.FAILED, STOPPED
        try:
            if silence is not None and job.ages_away:
                outcome, detail = Outcome.OK, _LEFT_ALONE.format(silence.days)
            else:
                outcome, detail = await self._work(job)
        finally:
            if planned.missed and outcome is Outcome.OK:
                detail = f"{detail}; made up for {planned.missed} missed runs"
            if desk.lead.leads:
                await finish(
                    self._record(job.name, started_at, outcome, detail),
                    timeout_seconds=RECORD_SECONDS_MAX,
                )
            _LOG.info(
                "job_ended",
                job=job.name,
                outcome=outcome.value,
                seconds=round(desk.clock.monotonic_seconds() - began, 3),
                detail=detail,
            )
        return outcome

    async def _record(self, name: str, started_at: datetime, outcome: Outcome, detail: str) -> None:
        async with self._desk.lead.fenced() as transaction:
            await end_run(
                transaction,
                name=name,
                started_at=started_at,
                ended_at=self._desk.clock.now(),
                outcome=outcome,
                detail=detail,
                keep=RUNS_KEPT,
            )

    async def _work(self, job: Job) -> tuple[Outcome, str]:
        try:
            async with asyncio.timeout(job.seconds_max):
                return Outcome.OK, await job.work(self._desk)
        except ApplianceError as error:
            if error.reason == LEASE_LOST:
                raise
            return Outcome.FAILED, f"{error.reason}: {error.message}"
        except TimeoutError:
            return Outcome.FAILED, f"not done within {job.seconds_max:.0f} s"
        except Exception as error:  # noqa: BLE001 a bug in one job must not keep the others from running
            _LOG.exception("job_broken", job=job.name)
            return Outcome.FAILED, f"bug: {type(error).__name__}"


def find_silence(last: Iterable[LastRun], now: datetime) -> timedelta | None:
    """How long no job ended, when that is longer than machines are left alone; else None."""
    newest = max((run.ended_at for run in last if run.ended_at is not None), default=None)
    if newest is None or now - newest <= SILENCE_MAX:
        return None
    return now - newest
