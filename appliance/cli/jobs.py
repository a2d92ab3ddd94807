"""`jobs`: what the scheduler does, and how it went."""

import asyncio
from typing import Final

import click

from appliance.base.errors import ApplianceError
from appliance.cli.desk import at_desk
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.domain.jobs import JobRun, JobsReport, describe_leader
from appliance.domain.schedule import Outcome
from appliance.services.wiring import Services

_LOOK_SECONDS_MAX: Final = 3.0
_WAIT_SECONDS: Final = 600
_EXIT_FAILED: Final = 1


@click.group()
def jobs() -> None:
    """What the scheduler does by itself, and how it went."""


@jobs.command("list")
@json_option
@settings_options
def list_all(settings: Settings, *, as_json: bool) -> None:
    """Every job with its schedule and its last run, and who leads."""
    report = at_desk(settings, lambda services: services.jobs.report())
    if as_json:
        print_json(report)
        return
    print_jobs(report)


@jobs.command()
@click.argument("name")
@json_option
@settings_options
def show(settings: Settings, name: str, *, as_json: bool) -> None:
    """The newest runs of the job NAME."""
    runs = at_desk(settings, lambda services: services.jobs.runs(name))
    if as_json:
        print_json(runs)
        return
    print_table(
        ("DUE", "STARTED", "ENDED", "RESULT", "DETAIL"),
        [
            (
                f"{one.due_at:%Y-%m-%d %H:%M}",
                f"{one.started_at:%Y-%m-%d %H:%M:%S}",
                f"{one.ended_at:%Y-%m-%d %H:%M:%S}" if one.ended_at else "-",
                _result(one),
                one.detail,
            )
            for one in runs
        ],
    )


@jobs.command()
@click.argument("name")
@click.option(
    "--wait",
    "seconds",
    type=click.IntRange(1, 86400),
    default=_WAIT_SECONDS,
    show_default=True,
    help="Seconds to wait for its end.",
)
@json_option
@settings_options
def run(settings: Settings, name: str, *, seconds: int, as_json: bool) -> int:
    """Let the scheduler run the job NAME now, and wait for its end.

    The exit status is 1 when the job failed.
    """
    done = at_desk(settings, lambda services: services.jobs.run_now(name, seconds_max=seconds))
    if as_json:
        print_json(done)
    else:
        print(f"{done.name}: {_result(done)}" + (f", {done.detail}" if done.detail else ""))
    return 0 if done.outcome is Outcome.OK else _EXIT_FAILED


def find_jobs(settings: Settings) -> JobsReport | None:
    """What `status` shows of the jobs; None when the database does not answer in time."""

    async def look(services: Services) -> JobsReport:
        async with asyncio.timeout(_LOOK_SECONDS_MAX):
            return await services.jobs.report()

    try:
        return at_desk(settings, look)
    except (ApplianceError, OSError, TimeoutError):
        return None


def print_jobs(report: JobsReport) -> None:
    """The jobs and their leader, for people."""
    print_table(
        ("JOB", "SCHEDULE", "LAST RUN", "RESULT", "DETAIL"),
        [
            (
                one.name,
                one.schedule,
                f"{one.last.started_at:%Y-%m-%d %H:%M}" if one.last else "-",
                _result(one.last) if one.last else "-",
                one.last.detail if one.last else "",
            )
            for one in report.jobs
        ],
    )
    print(f"\n{describe_leader(report)}")


def _result(run: JobRun) -> str:
    return run.outcome.value or "running"
