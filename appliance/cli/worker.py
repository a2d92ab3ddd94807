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
def background(sources: Sources) -> None:
    """Do everything but events: mail, people, erasures, and what is due by itself."""
    _run(sources, component="background")


@worker.command()
@sources_options
def scheduler(sources: Sources) -> None:
    """Run what is due by itself: purges, retention, reports, reminders (see `jobs list`)."""
    _run(sources, component="scheduler", only="scheduler")


@worker.command()
@sources_options
def email(sources: Sources) -> None:
    """Hand mails of the queue to the mail provider; without one it idles."""
    _run(sources, component="email", only="email")


@worker.command()
@click.argument("kind", type=click.Choice(["identify", "alias", "upsert"]))
@sources_options
def profile(sources: Sources, kind: str) -> None:
    """Name persons, or write what the read side shows of them."""
    _run(sources, component="people", only=kind)


@worker.command()
@sources_options
def compliance(sources: Sources) -> None:
    """Carry out the erasures that were asked for."""
    _run(sources, component="compliance", only="compliance")


@worker.command()
@sources_options
def demo(sources: Sources) -> None:
    """Fill the demo's project and keep it alive; idle unless demo.enabled."""
    _run(sources, component="demo", only="demo")


@worker.command()
@sources_options
def alerts(sources: Sources) -> None:
    """Send what alerts have to tell, by mail and to webhooks."""
    _run(sources, component="alerts", only="alerts")


def _run(sources: Sources, *, component: str, only: str = "") -> None:
    from appliance.cli.scheduler_hands import let_writer_rest, look_around  # noqa: PLC0415 after the log is set up
    from appliance.workers.background import run_background  # noqa: PLC0415 after the log is set up
    from appliance.workers.scheduler_duty import Hands  # noqa: PLC0415 after the log is set up

    settings = read_settings(sources)
    configure_logging(component=component, readable=False, level=log_level(settings))
    hands = Hands(quiet=let_writer_rest(settings), look_around=look_around(sources))
    asyncio.run(run_background(settings, hands, only={only} if only else frozenset()))
