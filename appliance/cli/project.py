"""`project`: projects that receive events."""

import click
import msgspec

from appliance.base.errors import NotFoundError
from appliance.cli.desk import at_desk
from appliance.cli.key import ShownKey, show_key
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.connection import Connection, load_connection, save_connection
from appliance.config.model import Settings
from appliance.services.wiring import Services
from appliance.storage.postgres.projects import KeyKind

FIRST_NAME = "first project"


class ShownProject(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh project and its public key."""

    id: str
    display_name: str
    timezone: str
    public_key: ShownKey


@click.group()
def project() -> None:
    """Projects that receive events."""


@project.command()
@click.argument("name")
@click.option("--timezone", default="", help="Reporting time zone, like Europe/Vienna.")
@json_option
@settings_options
def create(settings: Settings, *, name: str, timezone: str, as_json: bool) -> None:
    """Make a project called NAME with a public key."""
    made = at_desk(
        settings, lambda services: services.projects.create_project(name, timezone=timezone)
    )
    shown = ShownProject(
        id=made.id,
        display_name=made.display_name,
        timezone=made.timezone,
        public_key=show_key(made.public_key),
    )
    if as_json:
        print_json(shown)
    else:
        print(f"made {shown.display_name}, id {shown.id}\npublic key {shown.public_key.key}")


@project.command("list")
@json_option
@settings_options
def list_all(settings: Settings, *, as_json: bool) -> None:
    """All projects, oldest first."""
    rows = at_desk(settings, lambda services: services.projects.list_projects())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "NAME", "TIME ZONE", "MADE"),
        [
            (row.id, row.display_name, row.timezone or "UTC", f"{row.created_at:%F %T}")
            for row in rows
        ],
    )


@project.command(hidden=True)
@click.option("--url", required=True, help="Where the API answers.")
@settings_options
def first(settings: Settings, *, url: str) -> None:
    """Make sure that connection.json names a living project with keys (used by quickstart)."""
    path = settings.folders.connection_file
    connection = at_desk(settings, lambda services: _ensure_first(services, _known(settings), url))
    save_connection(path, connection)


def _known(settings: Settings) -> Connection | None:
    try:
        return load_connection(settings.folders.connection_file)
    except NotFoundError:
        return None


async def _ensure_first(services: Services, known: Connection | None, url: str) -> Connection:
    if known is not None and any(
        row.id == known.project_id for row in await services.projects.list_projects()
    ):
        return msgspec.structs.replace(known, url=url)
    names = {row.display_name for row in await services.projects.list_projects()}
    name = next(
        candidate
        for candidate in (FIRST_NAME, *(f"{FIRST_NAME} {number}" for number in range(2, 1000)))
        if candidate not in names
    )
    made = await services.projects.create_project(name)
    private = await services.key_chain.create_key(
        made.id, KeyKind.PRIVATE, display_name="quickstart"
    )
    return Connection(
        url=url,
        project_id=made.id,
        public_key=made.public_key.key.reveal(),
        private_key=private.key.reveal(),
    )
