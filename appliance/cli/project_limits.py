"""`project limits`: how many events a project may send."""

import click

from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.storage.postgres.limits import ProjectUse

NO_LIMIT = "none"


@click.command("limits")
@click.argument("project_id", required=False)
@click.option("--per-second", help=f"Events a second, or `{NO_LIMIT}`.")
@click.option("--per-month", help=f"Events in a calendar month (UTC), or `{NO_LIMIT}`.")
@json_option
@settings_options
def limits(
    settings: Settings,
    *,
    project_id: str | None,
    per_second: str | None,
    per_month: str | None,
    as_json: bool,
) -> None:
    """Show what PROJECT_ID, or every project, may send and has sent; or set it.

    A project over a limit is answered 429 with the time to wait; a change holds within seconds.
    """
    second = _parse(per_second, "--per-second")
    month = _parse(per_month, "--per-month")
    if second is not None or month is not None:
        if project_id is None:
            raise click.UsageError("name the project whose limits are set")
        chosen = project_id
        at_desk(
            settings,
            lambda services: services.limits.change(
                chosen, events_per_second=second, events_per_month=month, actor=operator()
            ),
        )
    uses = at_desk(settings, lambda services: services.limits.list_uses(project_id))
    if as_json:
        print_json(uses)
        return
    print_table(
        ("ID", "NAME", "EVENTS A SECOND", "EVENTS A MONTH", "THIS MONTH"),
        [_row(one) for one in uses],
    )


def _row(one: ProjectUse) -> tuple[str, ...]:
    return (
        one.id,
        one.display_name,
        _shown(one.events_per_second),
        _shown(one.events_per_month),
        str(one.events),
    )


def _shown(number: int | None) -> str:
    return NO_LIMIT if number is None else str(number)


def _parse(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    if text == NO_LIMIT:
        return 0
    if not text.isascii() or not text.isdigit() or not int(text):
        raise click.BadParameter(f"a number of events, or `{NO_LIMIT}`", param_hint=option)
    return int(text)
