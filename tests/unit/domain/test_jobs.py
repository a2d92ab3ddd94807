"""What `status` says of the jobs."""

from datetime import UTC, datetime

from appliance.domain.jobs import (
    ALL_WELL,
    REMINDERS,
    JobReport,
    JobRun,
    JobsReport,
    LeaderReport,
    describe_jobs,
)
from appliance.domain.schedule import Outcome

AT = datetime(2026, 5, 10, 3, 30, tzinfo=UTC)


def job(name: str, outcome: Outcome | None, detail: str = "") -> JobReport:
    last = None
    if outcome is not None:
        last = JobRun(
            name=name,
            due_at=AT,
            started_at=AT,
            ended_at=AT,
            leader="a",
            outcome=outcome,
            detail=detail,
        )
    return JobReport(name=name, purpose="", schedule="", next_due_at=AT, last=last)


def leader(*, alive: bool) -> LeaderReport:
    return LeaderReport(holder="box:7:ab", term=3, expires_at=AT, alive=alive)


def test_quiet() -> None:
    """Who leads, and nothing about jobs that went well, run, or never ran."""
    jobs = (
        job("a", Outcome.OK, "done"),
        job("b", Outcome.RUNNING),
        job("c", None),
        job(REMINDERS, Outcome.OK, ALL_WELL),
    )
    report = JobsReport(leader=leader(alive=True), jobs=jobs)
    assert describe_jobs(report) == "jobs: led by box:7:ab, term 3"


def test_troubles() -> None:
    jobs = (
        job("retention", Outcome.FAILED, "ROLLUPS_DIFFER: in p1"),
        job(REMINDERS, Outcome.OK, "there is no backup at all (0 mails)"),
    )
    for report in (
        JobsReport(leader=None, jobs=jobs),
        JobsReport(leader=leader(alive=False), jobs=jobs),
    ):
        assert describe_jobs(report).splitlines() == [
            "jobs: no scheduler leads",
            "job retention failed at 2026-05-10 03:30 UTC: ROLLUPS_DIFFER: in p1",
            "to do: there is no backup at all (0 mails)",
        ]
