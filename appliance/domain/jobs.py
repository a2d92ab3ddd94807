"""What is told about the jobs of the scheduler.

Invariant: plain values. Filled by `services/jobs/requests.py`, printed by `cli/jobs.py`.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct

from appliance.domain.schedule import Outcome

REMINDERS: Final = "reminders"
ALL_WELL: Final = "backups and certificate are well"
"""What the job `reminders` says when there is nothing to remind of."""


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
    """The jobs in the few lines `status` has for them: who leads, what failed, what is to do."""
    lines = [f"jobs: {describe_leader(report)}"]
    for one in report.jobs:
        last = one.last
        if last is None:
            continue
        if last.outcome is Outcome.FAILED:
            lines.append(
                f"job {one.name} failed at {last.started_at:%Y-%m-%d %H:%M} UTC: {last.detail}"
            )
        elif one.name == REMINDERS and last.outcome is Outcome.OK and last.detail != ALL_WELL:
            lines.append(f"to do: {last.detail}")
    return "\n".join(lines)
