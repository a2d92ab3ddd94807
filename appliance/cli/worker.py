"""`worker`: queue workers, each a process."""

import asyncio

import click

from appliance.base.log import configure_logging
from appliance.cli.options import log_level, settings_options
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
