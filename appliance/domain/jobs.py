"""What is told about the jobs of the scheduler.

Invariant: plain values. Filled by `services/jobs/requests.py`, printed by `cli/jobs.py`.
"""

from datetime import datetime

from msgspec import Struct

from appliance.domain.schedule import Outcome


class JobRun(Struct, frozen=True, kw_only=True):
    """One run of a job; `ended_at` is None while it runs."""

    name: str
    due_at: datetime
    started_at: datetime
    ended_at: datetime | None
    leader: str
    outcome: Outcome
    detail: str


class LeaderReport(Struct, frozen=True, kw_only=True):
    """Who leads; `alive` when its lease is not over."""

    holder: str
    term: int
    expires_at: datetime
    alive: bool


class JobReport(Struct, frozen=True, kw_only=True):
    """A job and its newest run."""

    name: str
    purpose: str
    schedule: str
    next_due_at: datetime
    last: JobRun | None


class JobsReport(Struct, frozen=True, kw_only=True):
    """Every job, and who leads."""

    leader: LeaderReport | None
    jobs: tuple[JobReport, ...]


def describe_leader(report: JobsReport) -> str:
    """Who leads, in a sentence."""
    leader = report.leader
    if leader is None or not leader.alive:
        return "no scheduler leads"
    return f"led by {leader.holder}, term {leader.term}"


def describe_jobs(report: JobsReport) -> str:
    """The jobs in the few lines that `status` has for them: the leader, and what failed."""
    lines = [f"jobs: {describe_leader(report)}"]
    lines.extend(
        f"job {one.name} failed at {one.last.started_at:%Y-%m-%d %H:%M} UTC: {one.last.detail}"
        for one in report.jobs
        if one.last is not None and one.last.outcome is Outcome.FAILED
    )
    return "\n".join(lines)
