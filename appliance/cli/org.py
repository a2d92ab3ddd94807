"""`org`: organisations, who belongs to them, and inviting people from this machine."""

import click
import msgspec

from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.domain.access.invitations import shown_expiry
from appliance.domain.access.roles import Role
from appliance.services.invitations import SentInvitation
from appliance.services.wiring import Services
from appliance.storage.postgres.orgs import MemberRow


class ShownInvitation(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation as it is shown; `link` only where it must be handed over."""

    id: str
    org_id: str
    email: str
    role: Role
    expires_at: str
    mailed: bool
    link: str | None


@click.group()
def org() -> None:
    """Organisations and who belongs to them."""


@org.command("list")
@json_option
@settings_options
def list_all(settings: Settings, *, as_json: bool) -> None:
    """All organisations, oldest first."""
    rows = at_desk(settings, lambda services: services.control.organisations.list_all())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "NAME", "MEMBERS", "ADMINS", "MADE"),
        [
            (
                row.id,
                row.display_name,
                str(row.members),
                str(row.admins),
                f"{row.created_at:%F %T}",
            )
            for row in rows
        ],
    )


@org.command()
@click.argument("org_id")
@json_option
@settings_options
def members(settings: Settings, *, org_id: str, as_json: bool) -> None:
    """The members of ORG_ID in the order they joined."""
    rows = at_desk(settings, lambda services: _members(services, org_id))
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "E-MAIL", "NAME", "ROLE", "JOINED", "STATE"),
        [
            (
                row.customer_id,
                row.email,
                row.display_name or "-",
                row.role,
                f"{row.joined_at:%F %T}",
                "disabled" if row.disabled else "-",
            )
            for row in rows
        ],
    )


@org.command()
@click.argument("org_id")
@click.argument("email")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.MEMBER.value,
    show_default=True,
    help="What the person may do in the organisation.",
)
@click.option("--again", is_flag=True, help="Send a pending invitation again; its old link ends.")
@click.option("--link", "with_link", is_flag=True, help="Print the link even if it is mailed.")
@json_option
@settings_options
def invite(  # the options of one command
    settings: Settings,
    *,
    org_id: str,
    email: str,
    role: str,
    again: bool,
    with_link: bool,
    as_json: bool,
) -> None:
    """Invite EMAIL into ORG_ID; without a mail provider, print the link to hand over.

    The link holds for seven days and once. With --again the role stays as it was.
    """
    shown = at_desk(
        settings,
        lambda services: _invite(
            services, org_id, email, Role(role), again=again, with_link=with_link
        ),
    )
    if as_json:
        print_json(shown)
        return
    print(f"invited {shown.email} ({shown.role}), until {shown.expires_at}, id {shown.id}")
    print("a mail is on its way" if shown.mailed else "no mail is sent; hand this link over:")
    if shown.link is not None:
        print(shown.link)


async def _members(services: Services, org_id: str) -> tuple[MemberRow, ...]:
    await services.control.organisations.require(org_id)
    return await services.control.members.list_members(org_id)


async def _invite(
    services: Services, org_id: str, email: str, role: Role, *, again: bool, with_link: bool
) -> ShownInvitation:
    control = services.control
    await control.organisations.require(org_id)
    sent: SentInvitation
    if again:
        pending = await control.invitations.load_pending(org_id, email)
        sent = await control.invitations.resend(operator(), org_id, pending.id)
    else:
        sent = await control.invitations.invite(operator(), org_id, email, role)
    shown = with_link or not sent.mailed
    return ShownInvitation(
        id=sent.row.id,
        org_id=org_id,
        email=sent.row.email,
        role=sent.row.role,
        expires_at=shown_expiry(sent.row.expires_at),
        mailed=sent.mailed,
        link=control.links.magic_link(sent.token.reveal()) if shown else None,
    )
