"""What the command line asks of the jobs: which there are, how they went, run one now.

Invariant: jobs run only where the leader is; everybody else asks it over the queue and reads in the
record what came of it.
"""

from datetime import timedelta
from typing import Final

from appliance.base.clock import Clock
from appliance.base.errors import NotFoundError, Resource, TimedOutError, UnavailableError
from appliance.base.tasks import poll
from appliance.domain.jobs import JobReport, JobRun, JobsReport, LeaderReport
from appliance.domain.schedule import Outcome, next_due
from appliance.services.jobs.leadership import LEASE_NAME
from appliance.services.jobs.registry import JOBS, render_schedule
from appliance.services.stores import Stores
from appliance.storage.postgres.jobs import list_newest_runs, list_runs, look_at_lease

RUN_SUBJECT: Final = "pug.jobs.run"
RUNS_SHOWN: Final = 20
_START_SECONDS_MAX: Final = 30.0
_POLL_SECONDS: Final = 0.2


class JobsService:
    """Questions about the jobs."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    async def report(self) -> JobsReport:
        """Every job with its newest run, and who leads."""
        now = self._clock.now()
        newest = await list_newest_runs(self._stores.postgres, [job.name for job in JOBS])
        return JobsReport(
            leader=await self._leader(),
            jobs=tuple(
                JobReport(
                    name=job.name,
                    purpose=job.purpose,
                    schedule=render_schedule(job.schedule),
                    next_due_at=next_due(job.schedule, now),
                    last=newest.get(job.name),
                )
                for job in JOBS
            ),
        )

    async def runs(self, name: str) -> tuple[JobRun, ...]:
        """The newest runs of a job; raises NotFoundError for a name no job has."""
        _require_job(name)
        return await list_runs(self._stores.postgres, name, limit=RUNS_SHOWN)

    async def run_now(self, name: str, *, seconds_max: float) -> JobRun:
        """Let the leader run a job and wait for its end.

        Raises NotFoundError for a name no job has, UnavailableError when nobody leads,
        TimedOutError when the job takes longer than one wants to wait.
        """
        _require_job(name)
        leader = await self._leader()
        if leader is None or not leader.alive:
            raise UnavailableError(
                "NO_SCHEDULER",
                "no scheduler runs",
                hint="see `pug-appliance status` and `pug-appliance logs scheduler`",
            )
        before = await self._newest(name)

        async def begun() -> JobRun | None:
            await self._stores.publisher.announce(RUN_SUBJECT, name.encode())
            found = await self._newest(name)
            return found if found is not None and _is_newer(found, before) else None

        async def ended() -> JobRun | None:
            found = await self._newest(name)
            return found if found is not None and found.outcome is not Outcome.RUNNING else None

        if not await poll(begun, every_seconds=_POLL_SECONDS, timeout_seconds=_START_SECONDS_MAX):
            raise TimedOutError(
                "JOB_WAITS", f"{name} has not begun", hint="another job runs; see `jobs list`"
            )
        run = await poll(ended, every_seconds=_POLL_SECONDS, timeout_seconds=seconds_max)
        if run is None:
            raise TimedOutError("JOB_RUNS", f"{name} still runs", hint="see `jobs list`")
        return run

    async def _newest(self, name: str) -> JobRun | None:
        return next(iter(await list_runs(self._stores.postgres, name, limit=1)), None)

    async def _leader(self) -> LeaderReport | None:
        lease = await look_at_lease(self._stores.postgres, LEASE_NAME)
        if lease is None or not lease.holder:
            return None
        now = self._clock.now()
        return LeaderReport(
            holder=lease.holder,
            term=lease.term,
            expires_at=lease.expires_at,
            alive=now < lease.expires_at <= now + timedelta(days=1),
        )


def _is_newer(found: JobRun, before: JobRun | None) -> bool:
    return before is None or found.started_at > before.started_at


def _require_job(name: str) -> None:
    names = [job.name for job in JOBS]
    if name not in names:
        raise NotFoundError(
            "JOB_NOT_FOUND",
            f"there is no job {name!r}",
            hint=f"there are: {', '.join(names)}",
            resource=Resource(kind="job", name=name),
        )
