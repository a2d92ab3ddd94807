"""`project`: projects that receive events."""

import click
import msgspec

from appliance.base.errors import NotFoundError
from appliance.cli.desk import at_desk, operator
from appliance.cli.key import ShownKey, show_key
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.cli.project_limits import limits
from appliance.config.connection import Connection, load_connection, save_connection
from appliance.config.model import Settings
from appliance.services.wiring import Services
from appliance.storage.postgres.projects import KeyKind

FIRST_NAME = "first project"
FOREVER = "forever"


class ShownProject(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh project and its public key."""

    id: str
    display_name: str
    timezone: str
    public_key: ShownKey


@click.group()
def project() -> None:
    """Projects that receive events."""


project.add_command(limits)


@project.command()
@click.argument("name")
@click.option("--timezone", default="", help="Reporting time zone, like Europe/Vienna.")
@click.option("--org", "org_id", help="Id of the organisation; without it the oldest one.")
@json_option
@settings_options
def create(
    settings: Settings, *, name: str, timezone: str, org_id: str | None, as_json: bool
) -> None:
    """Make a project called NAME with a public key."""
    made = at_desk(
        settings,
        lambda services: services.projects.create_project(
            name, org_id=org_id, timezone=timezone, actor=operator()
        ),
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
@click.option("--deleted", is_flag=True, help="Those that can be restored, instead.")
@json_option
@settings_options
def list_all(settings: Settings, *, deleted: bool, as_json: bool) -> None:
    """All projects, oldest first."""
    if deleted:
        _list_deleted(settings, as_json=as_json)
        return
    rows = at_desk(settings, lambda services: services.projects.list_projects())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "NAME", "TIME ZONE", "EVENTS KEPT", "MADE"),
        [
            (
                row.id,
                row.display_name,
                row.timezone or "UTC",
                f"{row.retention_days} days" if row.retention_days else FOREVER,
                f"{row.created_at:%F %T}",
            )
            for row in rows
        ],
    )


@project.command()
@click.argument("project_id")
@click.argument("name")
@json_option
@settings_options
def rename(settings: Settings, *, project_id: str, name: str, as_json: bool) -> None:
    """Call PROJECT_ID by another NAME."""
    at_desk(
        settings,
        lambda services: services.projects.update_meta(
            project_id, display_name=name, actor=operator()
        ),
    )
    _tell(project_id, "renamed", f"the project is called {name}", as_json=as_json)


@project.command()
@click.argument("project_id")
@click.argument("zone")
@json_option
@settings_options
def timezone(settings: Settings, *, project_id: str, zone: str, as_json: bool) -> None:
    """Report PROJECT_ID in a time ZONE, like Europe/Vienna or UTC."""
    at_desk(
        settings,
        lambda services: services.projects.update_meta(project_id, timezone=zone, actor=operator()),
    )
    _tell(project_id, "timezone", f"the project reports in {zone or 'UTC'}", as_json=as_json)


@project.command()
@click.argument("project_id")
@click.option("--days", required=True, help=f"Days of events kept, or `{FOREVER}`.")
@json_option
@settings_options
def retention(settings: Settings, *, project_id: str, days: str, as_json: bool) -> None:
    """Keep the events of PROJECT_ID for so many days; older ones are deleted every night."""
    count = _parse_days(days)
    at_desk(
        settings,
        lambda services: services.projects.set_retention(project_id, count, actor=operator()),
    )
    kept = f"for {count} days" if count else FOREVER
    _tell(project_id, "retention", f"events are kept {kept}", as_json=as_json)


@project.command()
@click.argument("project_id")
@json_option
@settings_options
def delete(settings: Settings, *, project_id: str, as_json: bool) -> None:
    """Take PROJECT_ID away with its keys; it can be restored for 30 days."""
    at_desk(
        settings,
        lambda services: services.projects.delete_project(project_id, actor=operator()),
    )
    told = f"deleted; `pug-appliance project restore {project_id}` brings it back for 30 days"
    _tell(project_id, "deleted", told, as_json=as_json)


@project.command()
@click.argument("project_id")
@click.option("--name", help="Another name, where its own is used by now.")
@json_option
@settings_options
def restore(settings: Settings, *, project_id: str, name: str | None, as_json: bool) -> None:
    """Bring the deleted PROJECT_ID back with its keys and events."""
    restored = at_desk(
        settings,
        lambda services: services.projects.restore_project(
            project_id, display_name=name, actor=operator()
        ),
    )
    _tell(project_id, "restored", f"{restored} is back", as_json=as_json)


def _list_deleted(settings: Settings, *, as_json: bool) -> None:
    rows = at_desk(settings, lambda services: services.projects.list_deleted())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "NAME", "DELETED"),
        [(row.id, row.display_name, f"{row.deleted_at:%F %T}") for row in rows],
    )


def _parse_days(text: str) -> int | None:
    if text == FOREVER:
        return None
    if not text.isascii() or not text.isdigit():
        raise click.BadParameter(f"a number of days, or `{FOREVER}`", param_hint="--days")
    return int(text)


def _tell(project_id: str, done: str, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": project_id, "done": done})
    else:
        print(sentence)


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
    made = await services.projects.create_project(name, actor=operator())
    private = await services.key_chain.create_key(
        made.id, KeyKind.PRIVATE, display_name="quickstart", actor=operator()
    )
    return Connection(
        url=url,
        project_id=made.id,
        public_key=made.public_key.key.reveal(),
        private_key=private.key.reveal(),
    )
