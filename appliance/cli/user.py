"""`user`: people who may sign in."""

from pathlib import Path

import click
import msgspec

from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.config.secrets import Secret, load_secret_file
from appliance.domain.access.roles import Role
from appliance.services.accounts import CreatedUser
from appliance.services.wiring import Services
from appliance.storage.postgres.customers import ListedCustomer
from appliance.storage.postgres.orgs import MemberRow


class ShownLink(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in link as it is shown: whoever has it is that person, for a quarter of an hour."""

    email: str
    link: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to whom."""

    email: str
    done: str


_email = click.argument("email")
_password_file = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the password, mode 0600; without it the password is asked for.",
)


@click.group()
def user() -> None:
    """People who may sign in."""


@user.command()
@click.option("--email", required=True, help="Address to sign in with.")
@_password_file
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.ADMIN.value,
    show_default=True,
    help="What the person may do in the organisation.",
)
@click.option("--org", "org_id", help="Id of the organisation; without it the oldest one.")
@json_option
@settings_options
def create(
    settings: Settings,
    *,
    email: str,
    password_file: Path | None,
    role: str,
    org_id: str | None,
    as_json: bool,
) -> None:
    """Make a person who may sign in."""
    password = _password(password_file)
    made = at_desk(
        settings,
        lambda services: _create(services, email, password, role=Role(role), org_id=org_id),
    )
    if as_json:
        print_json(made)
    else:
        print(f"made {made.email} ({made.role}), id {made.id}")


@user.command("list")
@json_option
@settings_options
def list_all(settings: Settings, *, as_json: bool) -> None:
    """Everybody, oldest first."""
    rows = at_desk(settings, lambda services: services.accounts.list_users())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "E-MAIL", "NAME", "ORGS", "PASSWORD", "STATE", "MADE"),
        [
            (
                row.id,
                row.email,
                row.display_name,
                str(row.orgs),
                "yes" if row.has_password else "no",
                _state(row),
                f"{row.created_at:%F %T}",
            )
            for row in rows
        ],
    )


@user.command("set-password")
@_email
@_password_file
@json_option
@settings_options
def set_password(
    settings: Settings, *, email: str, password_file: Path | None, as_json: bool
) -> None:
    """Give EMAIL a new password; ends a lock after wrong tries, too."""
    password = _password(password_file)
    at_desk(
        settings,
        lambda services: services.accounts.replace_password(email, password, actor=operator()),
    )
    _tell(Done(email=email, done="password set"), as_json=as_json)


@user.command()
@_email
@json_option
@settings_options
def disable(settings: Settings, *, email: str, as_json: bool) -> None:
    """Refuse EMAIL everywhere from now on and end their sessions."""
    at_desk(
        settings,
        lambda services: services.accounts.set_enabled(email, enabled=False, actor=operator()),
    )
    _tell(Done(email=email, done="disabled"), as_json=as_json)


@user.command()
@_email
@json_option
@settings_options
def enable(settings: Settings, *, email: str, as_json: bool) -> None:
    """Let EMAIL in again."""
    at_desk(
        settings,
        lambda services: services.accounts.set_enabled(email, enabled=True, actor=operator()),
    )
    _tell(Done(email=email, done="enabled"), as_json=as_json)


@user.command("magic-link")
@_email
@json_option
@settings_options
def magic_link(settings: Settings, *, email: str, as_json: bool) -> None:
    """Print a link that signs EMAIL in; it holds once, for fifteen minutes."""
    shown = at_desk(settings, lambda services: _link(services, email))
    if as_json:
        print_json(shown)
    else:
        print(shown.link)


@user.command()
@_email
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.option("--org", "org_id", required=True, help="Id of the organisation: see `org list`.")
@json_option
@settings_options
def role(settings: Settings, *, email: str, role: str, org_id: str, as_json: bool) -> None:
    """Give EMAIL another ROLE in an organisation."""
    member = at_desk(settings, lambda services: _set_role(services, email, org_id, Role(role)))
    if as_json:
        print_json(member)
    else:
        print(f"{member.email} is {member.role} of {member.org_id}")


async def _create(
    services: Services, email: str, password: Secret, *, role: Role, org_id: str | None
) -> CreatedUser:
    if org_id is not None:
        await services.control.organisations.require(org_id)
    return await services.accounts.create_user(
        email, password, role=role, org_id=org_id, actor=operator()
    )


async def _link(services: Services, email: str) -> ShownLink:
    found = await services.accounts.find(email)
    issued = await services.control.magic_links.issue(found.email)
    link = services.control.links.magic_link(issued.token.reveal())
    return ShownLink(email=found.email, link=link)


async def _set_role(services: Services, email: str, org_id: str, role: Role) -> MemberRow:
    found = await services.accounts.find(email)
    await services.control.organisations.require(org_id)
    return await services.control.members.change_role(operator(), org_id, found.id, role)


def _state(row: ListedCustomer) -> str:
    if row.disabled:
        return "disabled"
    return "active" if row.verified else "unverified"


def _tell(done: Done, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        print(f"{done.email}: {done.done}")


def _password(file: Path | None) -> Secret:
    if file is not None:
        return load_secret_file(file)
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return Secret(text)
