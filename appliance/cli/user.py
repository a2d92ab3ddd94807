"""`user`: people who may sign in."""

from pathlib import Path

import click

from appliance.cli.desk import at_desk
from appliance.cli.options import json_option, print_json, settings_options
from appliance.config.model import Settings
from appliance.config.secrets import Secret, load_secret_file
from appliance.domain.access.roles import Role


@click.group()
def user() -> None:
    """People who may sign in."""


@user.command()
@click.option("--email", required=True, help="Address to sign in with.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the password, mode 0600; without it the password is asked for.",
)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.ADMIN.value,
    show_default=True,
    help="What the person may do in the first organisation.",
)
@json_option
@settings_options
def create(
    settings: Settings, *, email: str, password_file: Path | None, role: str, as_json: bool
) -> None:
    """Make a person who may sign in."""
    password = load_secret_file(password_file) if password_file else _ask_password()
    made = at_desk(
        settings, lambda services: services.accounts.create_user(email, password, role=Role(role))
    )
    if as_json:
        print_json(made)
    else:
        print(f"made {made.email} ({made.role}), id {made.id}")


def _ask_password() -> Secret:
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return Secret(text)
