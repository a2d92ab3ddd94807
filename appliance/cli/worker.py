"""`worker`: queue workers, each a process."""

import asyncio

import click

from appliance.base.log import configure_logging
from appliance.cli.options import (
    Sources,
    log_level,
    read_settings,
    settings_options,
    sources_options,
)
from appliance.config.model import Settings


@click.group()
def worker() -> None:
    """Run a queue worker in the foreground (started by `run`)."""


@worker.command()
@settings_options
def events(settings: Settings) -> None:
    """Move events from the queue into the event store, each exactly once."""
    from appliance.workers.runtime import run_events_worker  # noqa: PLC0415 after the log is set up

    configure_logging(component="events", readable=False, level=log_level(settings))
    asyncio.run(run_events_worker(settings))


@worker.command()
@sources_options
def scheduler(sources: Sources) -> None:
    """Run what is due by itself: purges, retention, reports, reminders (see `jobs list`)."""
    from appliance.cli.scheduler_hands import let_writer_rest, look_around  # noqa: PLC0415 after the log is set up
    from appliance.workers.scheduler_process import run_scheduler  # noqa: PLC0415 after the log is set up

    settings = read_settings(sources)
    configure_logging(component="scheduler", readable=False, level=log_level(settings))
    asyncio.run(
        run_scheduler(settings, quiet=let_writer_rest(settings), look_around=look_around(sources))
    )


@worker.command()
@settings_options
def email(settings: Settings) -> None:
    """Hand mails of the queue to the mail provider; without one it idles."""
    from appliance.workers.email_runtime import run_email_worker  # noqa: PLC0415 after the log

    configure_logging(component="email", readable=False, level=log_level(settings))
    asyncio.run(run_email_worker(settings))
