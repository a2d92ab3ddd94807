"""`key`: API keys of a project."""

import click
import msgspec

from appliance.cli.desk import at_desk
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.services.keys import CreatedKey
from appliance.storage.postgres.projects import KeyKind


class ShownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh key as it is shown, once."""

    id: str
    kind: KeyKind
    key: str


@click.group()
def key() -> None:
    """API keys of a project."""


@key.command()
@click.argument("project_id")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in KeyKind]),
    required=True,
    help="public sends events; private also asks questions.",
)
@click.option("--name", default="", help="What the key is for.")
@json_option
@settings_options
def create(settings: Settings, *, project_id: str, kind: str, name: str, as_json: bool) -> None:
    """Make a key of PROJECT_ID and show it, once."""
    made = at_desk(
        settings,
        lambda services: services.key_chain.create_key(
            project_id, KeyKind(kind), display_name=name
        ),
    )
    shown = show_key(made)
    if as_json:
        print_json(shown)
    else:
        print(f"{shown.key}\n(id {shown.id}; a private key is not shown again)")


@key.command("list")
@click.argument("project_id")
@json_option
@settings_options
def list_all(settings: Settings, *, project_id: str, as_json: bool) -> None:
    """The keys of PROJECT_ID, masked."""
    rows = at_desk(settings, lambda services: services.key_chain.list_keys(project_id))
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "KIND", "KEY", "NAME", "MADE"),
        [
            (row.id, row.kind, row.masked, row.display_name or "-", f"{row.created_at:%F %T}")
            for row in rows
        ],
    )


@key.command()
@click.argument("key_id")
@json_option
@settings_options
def revoke(settings: Settings, *, key_id: str, as_json: bool) -> None:
    """End a key for good, everywhere, named by its id or its text."""
    at_desk(settings, lambda services: services.key_chain.revoke_key(key_id))
    if as_json:
        print_json({"revoked": True})
    else:
        print("the key has ended")


def show_key(made: CreatedKey) -> ShownKey:
    """A fresh key with its text revealed."""
    return ShownKey(id=made.id, kind=made.kind, key=made.key.reveal())
