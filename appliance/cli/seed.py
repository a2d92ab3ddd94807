"""`seed`: send invented events through the HTTP API."""

import asyncio
import sys
from datetime import UTC, datetime, time
from pathlib import Path

import click

from appliance.base.clock import SystemClock
from appliance.cli.options import json_option, print_json, settings_options
from appliance.config.connection import load_connection
from appliance.config.model import Settings
from appliance.config.secrets import Secret, load_secret_file
from appliance.config.tls import find_tls, pinned_context
from appliance.domain.demo import Story
from appliance.services.demo import SentReport, send_story

EVENTS_PER_SESSION = 3
"""Average length of a session of the story, to turn events into sessions."""


@click.command()
@click.option("--events", default=5000, show_default=True, help="About how many events.")
@click.option("--days", default=14, show_default=True, help="Over how many days up to now.")
@click.option("--seed", "number", default=1, show_default=True, help="Which story.")
@click.option("--url", help="Where the API answers; default: that of connection.json.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the API key; default: that of connection.json.",
)
@json_option
@settings_options
def seed(
    settings: Settings,
    *,
    events: int,
    days: int,
    number: int,
    url: str | None,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Send invented events through the HTTP API of a running appliance.

    The same seed counts once, however often it is sent within the hour.
    """
    trust = None
    if url is not None and key_file is not None:
        key = load_secret_file(key_file)
    else:
        connection = load_connection(settings.folders.connection_file)
        if url is None:
            url = connection.url
            tls = find_tls(settings)
            trust = pinned_context(tls) if tls is not None else None
        key = load_secret_file(key_file) if key_file else Secret(connection.public_key)
    story = make_story(number=number, days=days, events=events)
    report = asyncio.run(send_story(url, key, story, progress=_show_progress, trust=trust))
    _tell(report, as_json=as_json)


def make_story(*, number: int, days: int, events: int) -> Story:
    """A story that ends with the last whole hour, so that today has a share."""
    now = SystemClock().now()
    end = datetime.combine(now.date(), time(now.hour), tzinfo=UTC)
    return Story(seed=number, end=end, days=days, sessions=max(1, int(events / EVENTS_PER_SESSION)))


def _show_progress(sent: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{sent} events", end="", file=sys.stderr, flush=True)


def _tell(report: SentReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        print(f"sent {report.sent} events, {report.accepted} accepted")
