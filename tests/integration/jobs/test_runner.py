"""Runs are recorded, repeated and made up for."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from appliance.base.errors import ConflictError, UnavailableError
from appliance.domain.schedule import Every, Outcome
from appliance.services.jobs.desk import Desk, Job
from appliance.services.jobs.run import RUNS_KEPT, JobRunner
from appliance.storage.postgres.jobs import list_runs
from tests.support.jobs import JobStage

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

HOUR = 3600.0


def job(work: Callable[[Desk], Awaitable[str]], name: str = "count", seconds: float = 5.0) -> Job:
    schedule = Every(timedelta(hours=1))
    return Job(name=name, purpose="", schedule=schedule, seconds_max=seconds, work=work)


class Work:
    """Counts its runs; fails while `error` is set."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None

    async def __call__(self, _desk: Desk) -> str:
        self.runs += 1
        if self.error is not None:
            raise self.error
        return f"run {self.runs}"


async def test_due(stage: JobStage) -> None:
    """A job runs once for each due time; every run says what it did."""
    work = Work()
    runner = JobRunner(stage.desk(await stage.leading()), [job(work)])
    assert await runner.run_due() == 1
    assert await runner.run_due() == 0
    stage.clock.advance(10)
    assert await runner.run_due() == 0
    [run] = await list_runs(stage.database, "count", limit=5)
    assert (run.outcome, run.detail, run.leader) == (Outcome.OK, "run 1", "a")
    assert run.due_at == stage.clock.now().replace(minute=0, second=0)
    assert run.ended_at is not None


async def test_missed(stage: JobStage) -> None:
    """After five hours of nobody one run makes up for all."""
    work = Work()
    lead = await stage.leading()
    runner = JobRunner(stage.desk(lead), [job(work)])
    await runner.run_due()
    stage.clock.advance(5 * HOUR)
    successor = await stage.leading("b")
    runner = JobRunner(stage.desk(successor), [job(work)])
    assert await runner.run_due() == 1
    assert await runner.run_due() == 0
    newest, _ = await list_runs(stage.database, "count", limit=5)
    assert newest.detail == "run 2; made up for 4 missed runs"


async def test_failing(stage: JobStage) -> None:
    """A failure is recorded, tried again after a minute, then two, and keeps no other waiting."""
    work, other = Work(), Work()
    lead = await stage.leading()
    runner = JobRunner(stage.desk(lead), [job(work), job(other, "other")])
    work.error = UnavailableError("UNAVAILABLE", "the store does not answer")
    assert await runner.run_due() == 2
    assert other.runs == 1
    for seconds in (60, 120):
        stage.clock.advance(seconds - 1)
        assert await lead.take()
        assert await runner.run_due() == 0
        stage.clock.advance(1)
        assert await runner.run_due() == 1
    work.error = None
    stage.clock.advance(240)
    assert await lead.take()
    assert await runner.run_due() == 1
    runs = await list_runs(stage.database, "count", limit=9)
    assert [run.outcome for run in runs] == [Outcome.OK, *[Outcome.FAILED] * 3]
    assert runs[-1].detail == "UNAVAILABLE: the store does not answer"
    assert len({run.due_at for run in runs}) == 1


async def test_bug(stage: JobStage) -> None:
    """A bug in one job is recorded without its text, and the next job runs."""
    work, other = Work(), Work()
    work.error = ValueError("secret")
    runner = JobRunner(stage.desk(await stage.leading()), [job(work), job(other, "other")])
    assert await runner.run_due() == 2
    [run] = await list_runs(stage.database, "count", limit=5)
    assert (run.outcome, run.detail) == (Outcome.FAILED, "bug: ValueError")


async def test_too_slow(stage: JobStage) -> None:
    async def forever(desk: Desk) -> str:
        import asyncio  # noqa: PLC0415 only here

        await asyncio.Event().wait()
        return str(desk)

    runner = JobRunner(stage.desk(await stage.leading()), [job(forever, seconds=0.05)])
    assert await runner.run_due() == 1
    [run] = await list_runs(stage.database, "count", limit=5)
    assert (run.outcome, run.detail) == (Outcome.FAILED, "not done within 0 s")


async def test_lease_lost_meanwhile(stage: JobStage) -> None:
    """A leader that loses its lease inside a job does not record; its successor closes the run and
    makes it again."""
    second = stage.lead("b")

    async def lose(desk: Desk) -> str:
        stage.clock.advance(21)
        assert await second.take()
        await desk.lead.require()
        return "never"

    first = await stage.leading("a")
    runner = JobRunner(stage.desk(first), [job(lose)])
    with pytest.raises(ConflictError):
        await runner.run_due()
    [run] = await list_runs(stage.database, "count", limit=5)
    assert (run.outcome, run.leader, run.ended_at) == (Outcome.RUNNING, "a", None)
    work = Work()
    runner = JobRunner(stage.desk(second), [job(work)])
    assert await runner.run_due() == 0
    await runner.take_over()
    stage.clock.advance(61)
    assert await second.take()
    assert await runner.run_due() == 1
    again, run = await list_runs(stage.database, "count", limit=5)
    assert (run.outcome, run.detail) == (Outcome.FAILED, "its leader was lost")
    assert (again.outcome, again.leader, again.due_at) == (Outcome.OK, "b", run.due_at)


async def test_record_is_bounded(stage: JobStage) -> None:
    """The record of a job keeps its newest runs."""
    work = Work()
    lead = await stage.leading()
    runner = JobRunner(stage.desk(lead), [job(work)])
    for _ in range(RUNS_KEPT + 5):
        assert await runner.run_now("count") is Outcome.OK
        stage.clock.advance(1)
        await lead.renew()
    runs = await list_runs(stage.database, "count", limit=1000)
    assert len(runs) == RUNS_KEPT
    assert runs[0].detail == f"run {RUNS_KEPT + 5}"
    assert await runner.run_now("unknown") is None


async def test_a_clock_that_leapt_takes_nothing_away(stage: JobStage) -> None:
    """Seven years later by the clock: what ages is left alone once, the rest runs."""
    ageing, other = Work(), Work()
    jobs = [
        msgspec.structs.replace(job(ageing, "ageing"), ages_away=True),
        job(other, "other"),
    ]
    runner = JobRunner(stage.desk(await stage.leading()), jobs)
    await runner.run_due()
    stage.clock.advance(7 * 365 * 24 * HOUR)
    runner = JobRunner(stage.desk(await stage.leading("b")), jobs)
    assert await runner.run_due() == 2
    assert (ageing.runs, other.runs) == (1, 2)
    [run, _] = await list_runs(stage.database, "ageing", limit=5)
    assert run.outcome is Outcome.OK
    assert "by the clock no job ran for 2555 days" in run.detail
    stage.clock.advance(HOUR)
    runner = JobRunner(stage.desk(await stage.leading("c")), jobs)
    assert await runner.run_due() == 2
    assert (ageing.runs, other.runs) == (2, 3)


async def test_a_week_off_is_no_leap(stage: JobStage) -> None:
    """The control arm: what was due while the machine was off is done at once."""
    ageing = Work()
    jobs = [msgspec.structs.replace(job(ageing, "ageing"), ages_away=True)]
    runner = JobRunner(stage.desk(await stage.leading()), jobs)
    await runner.run_due()
    stage.clock.advance(7 * 24 * HOUR)
    runner = JobRunner(stage.desk(await stage.leading("b")), jobs)
    assert await runner.run_due() == 1
    assert ageing.runs == 2
