"""`key`: API keys of a project."""

from datetime import datetime

import click
import msgspec

from appliance.base.units import Seconds
from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.services.keys import CreatedKey
from appliance.storage.postgres.projects import KeyKind


class ShownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh key as it is shown, once."""

    id: str
    kind: KeyKind
    key: str


class ShownRotation(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh key in the place of an old one; the old one has ended when its end is None."""

    id: str
    kind: KeyKind
    key: str
    old_id: str
    old_ends_at: datetime | None


class _Overlap(click.ParamType[Seconds]):
    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Seconds:
        if isinstance(value, Seconds):
            return value
        try:
            return Seconds.parse(str(value))
        except ValueError as error:
            self.fail(f"{value!r} is not {error}", param, ctx)


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
            project_id, KeyKind(kind), display_name=name, actor=operator()
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
        ("ID", "KIND", "KEY", "NAME", "MADE", "LAST USED", "ENDS"),
        [
            (
                row.id,
                row.kind,
                row.masked,
                row.display_name or "-",
                f"{row.created_at:%F %T}",
                f"{row.used_at:%F %T}" if row.used_at else "-",
                f"{row.expires_at:%F %T}" if row.expires_at else "-",
            )
            for row in rows
        ],
    )


@key.command()
@click.argument("key_id")
@click.option(
    "--overlap",
    type=_Overlap(),
    default="7d",
    show_default=True,
    help="How long the old key goes on working, like 12h or 7d; 0s ends it at once.",
)
@json_option
@settings_options
def rotate(settings: Settings, *, key_id: str, overlap: Seconds, as_json: bool) -> None:
    """Make a new key in the place of KEY_ID and show it, once; the old one ends later."""
    made = at_desk(
        settings,
        lambda services: services.key_chain.rotate_key(key_id, overlap, actor=operator()),
    )
    shown = ShownRotation(
        id=made.fresh.id,
        kind=made.fresh.kind,
        key=made.fresh.key.reveal(),
        old_id=made.old_id,
        old_ends_at=made.old_expires_at,
    )
    if as_json:
        print_json(shown)
        return
    print(f"{shown.key}\n(id {shown.id}; a private key is not shown again)")
    if shown.old_ends_at is None:
        print(f"the old key {shown.old_id} has ended")
    else:
        print(f"the old key {shown.old_id} ends at {shown.old_ends_at:%F %T} UTC")


@key.command()
@click.argument("key_id")
@json_option
@settings_options
def revoke(settings: Settings, *, key_id: str, as_json: bool) -> None:
    """End a key for good, everywhere, named by its id or its text."""
    at_desk(settings, lambda services: services.key_chain.revoke_key(key_id, actor=operator()))
    if as_json:
        print_json({"revoked": True})
    else:
        print("the key has ended")


def show_key(made: CreatedKey) -> ShownKey:
    """A fresh key with its text revealed."""
    return ShownKey(id=made.id, kind=made.kind, key=made.key.reveal())
