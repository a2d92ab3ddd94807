"""`report`: who gets the weekly report of which project."""

import click

from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings

project_option = click.option("--project", "project_id", required=True, help="Id of the project.")
email_option = click.option("--email", required=True, help="Address of the member.")


@click.group()
def report() -> None:
    """Who gets the weekly report of which project by mail."""


@report.command()
@project_option
@email_option
@json_option
@settings_options
def subscribe(settings: Settings, *, project_id: str, email: str, as_json: bool) -> None:
    """Send a member the project's report each Monday."""
    fresh = at_desk(
        settings,
        lambda services: services.reports.subscribe(operator(), project_id=project_id, email=email),
    )
    if as_json:
        print_json({"subscribed": True, "fresh": fresh})
    else:
        print(f"{email} gets the report" + ("" if fresh else " already"))


@report.command()
@project_option
@email_option
@json_option
@settings_options
def unsubscribe(settings: Settings, *, project_id: str, email: str, as_json: bool) -> None:
    """Send a member no more reports of the project."""
    ended = at_desk(
        settings,
        lambda services: services.reports.unsubscribe(
            operator(), project_id=project_id, email=email
        ),
    )
    if as_json:
        print_json({"subscribed": False, "ended": ended})
    else:
        print(f"{email} gets no report" + (" any more" if ended else ""))


@report.command("list")
@json_option
@settings_options
def list_all(settings: Settings, *, as_json: bool) -> None:
    """Every subscription, at most a thousand."""
    rows = at_desk(settings, lambda services: services.reports.list_subscriptions())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("PROJECT", "NAME", "EMAIL", "SINCE"),
        [
            (one.project_id, one.project_name, one.email, f"{one.created_at:%Y-%m-%d}")
            for one in rows
        ],
    )
