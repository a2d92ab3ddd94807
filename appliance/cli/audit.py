"""`audit`: who did what, when, from where.

Invariant: an export is written while it is read, a page at a time, so its length costs no memory.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

import click
import msgspec

from appliance.base.clock import SystemClock
from appliance.base.units import Seconds
from appliance.cli.desk import at_desk
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.services.wiring import Services
from appliance.storage.postgres.audit_export import (
    AuditFilter,
    AuditLine,
    export_pages,
    list_newest,
)

_LISTED: Final = 50
_LISTED_MAX: Final = 1000

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@click.group()
def audit() -> None:
    """Who did what, when, from where."""


def filter_options(
    command: Callable[Concatenate[AuditFilter, Parameters], Result],
) -> Callable[Parameters, Result]:
    """Give a command the options that choose entries."""

    @click.option("--since", default="", help="From then on: 2026-05-01, 2026-05-01T12:00Z or 30d.")
    @click.option("--until", default="", help="Before then.")
    @click.option("--org", default="", help="Id of an organisation.")
    @click.option("--project", default="", help="Id of a project.")
    @click.option("--action", default="", help="An act like project.create, or only project.")
    @wraps(command)
    def chosen(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        wanted = AuditFilter(
            since=parse_instant(str(kwargs.pop("since"))),
            until=parse_instant(str(kwargs.pop("until"))),
            org_id=str(kwargs.pop("org")),
            project_id=str(kwargs.pop("project")),
            action=str(kwargs.pop("action")),
        )
        return command(wanted, *args, **kwargs)

    return chosen


def parse_instant(text: str) -> datetime | None:
    """A date, an instant or how long ago; None for nothing. Raises UsageError."""
    if not text:
        return None
    try:
        return SystemClock().now() - timedelta(seconds=float(Seconds.parse(text)))
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(
            f"{text!r} is no time; write 2026-05-01, 2026-05-01T12:00Z or 30d"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@audit.command()
@filter_options
@settings_options
def export(settings: Settings, wanted: AuditFilter) -> None:
    """Print all entries as JSON lines, oldest first."""

    async def write(services: Services) -> None:
        encoder = msgspec.json.Encoder()
        async for page in export_pages(services.stores.postgres, wanted):
            sys.stdout.buffer.write(encoder.encode_lines(page))
            sys.stdout.buffer.flush()

    at_desk(settings, write)


@audit.command("list")
@click.option(
    "--limit",
    type=click.IntRange(1, _LISTED_MAX),
    default=_LISTED,
    show_default=True,
    help="How many.",
)
@json_option
@filter_options
@settings_options
def list_all(settings: Settings, wanted: AuditFilter, *, limit: int, as_json: bool) -> None:
    """Show the newest entries, newest first."""
    lines = at_desk(
        settings, lambda services: list_newest(services.stores.postgres, wanted, limit=limit)
    )
    if as_json:
        print_json(lines)
        return
    print_table(("WHEN", "WHO", "FROM", "DID", "TO", "DETAILS"), [_cells(line) for line in lines])


def _cells(line: AuditLine) -> tuple[str, ...]:
    who = line.actor_label or line.actor_id or line.actor_kind
    details = " ".join(f"{name}={value}" for name, value in line.details.items())
    return (
        f"{line.at:%Y-%m-%d %H:%M:%S}",
        _plain(who),
        line.address or "-",
        line.action,
        _plain(f"{line.subject_kind} {line.subject_id}".strip() or "-"),
        _plain(details),
    )


def _plain(text: str) -> str:
    """What people typed, without what a terminal would obey."""
    return "".join(one if one.isprintable() else "?" for one in text)
