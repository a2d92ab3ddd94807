"""Invitations through the real face [services 3.7, 6.2]."""

from datetime import timedelta
from pathlib import Path

import pytest

from appliance.config.model import Settings
from appliance.config.people import EmailSettings, SmtpSettings
from appliance.domain.access.roles import Role
from appliance.gen.dashboard.orgs.v1.orgs_pb import InvitationStatus, OrgRole
from appliance.gen.workers.email.v1.email_pb import EmailJob
from appliance.services.invitations import SentInvitation
from tests.support.control import ControlStack, Person, control_stack
from tests.support.orgs import (
    acting,
    ask,
    hash_of,
    live_links,
    refused,
    roles,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FORMS = pytest.mark.parametrize("form", ["json", "proto"])
NOWHERE = "x" * 20
DAY_SECONDS = 24 * 3600
MINA = "Mina@Pug.test"


async def admin_of_new(control: ControlStack) -> tuple[Person, str]:
    org = await control.make_org()
    return await control.make_member(Role.ADMIN, org), org


async def sent(
    control: ControlStack, admin: Person, org: str, email: str = MINA, role: Role = Role.MEMBER
) -> SentInvitation:
    """An invitation together with its secret, which no answer of the face tells."""
    return await control.services.control.invitations.invite(acting(admin), org, email, role)


async def accept(control: ControlStack, person: Person, invitation_id: str) -> None:
    async with control.database.transaction() as transaction:
        await control.services.control.invitations.accept(
            transaction, acting(person), invitation_id=invitation_id, customer_id=person.id
        )


@FORMS
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, OrgRole.MEMBER),
        (OrgRole.UNSPECIFIED, OrgRole.MEMBER),
        (OrgRole.MEMBER, OrgRole.MEMBER),
        (OrgRole.VIEWER, OrgRole.VIEWER),
        (OrgRole.ADMIN, OrgRole.ADMIN),
    ],
)
async def test_invite(control: ControlStack, form: str, asked: OrgRole | None, given: OrgRole):
    admin, org = await admin_of_new(control)
    answer = await ask(
        control, admin, "InviteMember", form=form, org_id=org, email=MINA, role=asked
    )
    invitation = answer.invitation
    assert (invitation.email, invitation.org_id, invitation.role) == (MINA, org, given)
    assert invitation.status == InvitationStatus.PENDING
    week_on = control.clock.now() + timedelta(days=7)
    assert invitation.expires_at == f"{week_on:%Y-%m-%dT%H:%M:%SZ}"
    assert len(await live_links(control, invitation.id)) == 1
    row = await control.database.row(
        "SELECT inviter_id, length(token) AS length FROM org_invitations WHERE id = $1",
        invitation.id,
    )
    assert row is not None
    assert (row["inviter_id"], row["length"]) == (admin.id, 32)
    assert await control.audit_actions() == ["org.invitation.create"]


@FORMS
async def test_one_pending_invitation_for_an_address(control: ControlStack, form: str):
    """Whatever its case, and even when it has expired [services 3.7]."""
    admin, org = await admin_of_new(control)
    await ask(control, admin, "InviteMember", form=form, org_id=org, email=MINA)
    for _ in range(2):
        refusal = await refused(
            control, admin, "InviteMember", form=form, org_id=org, email=MINA.upper()
        )
        assert (refusal.code, refusal.reason) == ("already_exists", "INVITATION_ALREADY_PENDING")
        control.clock.advance(8 * DAY_SECONDS)
        admin = await control.make_member(Role.ADMIN, org)
    other_admin, other_org = await admin_of_new(control)
    await ask(control, other_admin, "InviteMember", org_id=other_org, email=MINA)


@FORMS
async def test_members_are_not_invited(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    refusal = await refused(
        control, admin, "InviteMember", form=form, org_id=org, email=admin.email.upper()
    )
    assert (refusal.code, refusal.reason) == ("already_exists", "ORG_MEMBER_ALREADY_EXISTS")


@FORMS
async def test_bad_invitations(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    long = f"{'a' * 250}@pug.test"
    for email in ("", "mina", "mina@", long):
        refusal = await refused(control, admin, "InviteMember", form=form, org_id=org, email=email)
        assert (refusal.code, refusal.fields) == ("invalid_argument", ["email"])
    # In JSON the library drops a number that is no role: then it is a member's.
    refusal = await refused(control, admin, "InviteMember", org_id=org, email=MINA, role=9)
    assert (refusal.code, refusal.fields) == ("invalid_argument", ["role"])


@FORMS
async def test_resend_starts_anew_and_kills_the_old_link(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    first = await sent(control, admin, org)
    control.clock.advance(6 * DAY_SECONDS)
    admin = await control.make_member(Role.ADMIN, org)
    answer = await ask(
        control, admin, "ResendInvite", form=form, org_id=org, invitation_id=first.row.id
    )
    week_on = control.clock.now() + timedelta(days=7)
    assert answer.invitation.expires_at == f"{week_on:%Y-%m-%dT%H:%M:%SZ}"
    assert answer.invitation.status == InvitationStatus.PENDING
    links = await live_links(control, first.row.id)
    assert len(links) == 1
    assert hash_of(first.token.reveal()) not in links
    assert await control.audit_actions() == ["org.invitation.create", "org.invitation.resend"]


@FORMS
async def test_an_expired_invitation_stays_pending_and_can_be_sent_again(
    control: ControlStack, form: str
):
    admin, org = await admin_of_new(control)
    invitation = (await sent(control, admin, org)).row
    control.clock.advance(7 * DAY_SECONDS)
    admin = await control.make_member(Role.ADMIN, org)
    listed = (await ask(control, admin, "ListInvitations", form=form, org_id=org)).invitations
    assert [each.status for each in listed] == [InvitationStatus.PENDING]
    person = await control.make_person(MINA)
    with pytest.raises(Exception, match="does not hold"):
        await accept(control, person, invitation.id)
    await ask(control, admin, "ResendInvite", form=form, org_id=org, invitation_id=invitation.id)
    await accept(control, person, invitation.id)
    assert (await roles(control, org))[person.id] == "ORG_ROLE_MEMBER"


@FORMS
async def test_ten_mails_in_any_day(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    invitation = (await sent(control, admin, org)).row

    async def again() -> None:
        await ask(
            control, admin, "ResendInvite", form=form, org_id=org, invitation_id=invitation.id
        )

    for _ in range(9):
        control.clock.advance(60)
        await again()
    refusal = await refused(
        control, admin, "ResendInvite", form=form, org_id=org, invitation_id=invitation.id
    )
    assert (refusal.code, refusal.reason) == ("failed_precondition", "INVITATION_SEND_LIMIT")
    assert len(await live_links(control, invitation.id)) == 1
    # A day after the first mail there is room for one, and no more.
    control.clock.advance(DAY_SECONDS - 9 * 60)
    admin = await control.make_member(Role.ADMIN, org)
    await again()
    refusal = await refused(
        control, admin, "ResendInvite", form=form, org_id=org, invitation_id=invitation.id
    )
    assert refusal.reason == "INVITATION_SEND_LIMIT"
    row = await control.database.row("SELECT count(*) AS kept FROM org_invitation_sends")
    assert row is not None
    assert row["kept"] == 10


@FORMS
async def test_revoke(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    invitation = (await sent(control, admin, org)).row
    await ask(control, admin, "RevokeInvite", form=form, org_id=org, invitation_id=invitation.id)
    row = await control.database.row("SELECT count(*) AS links FROM email_action_tokens")
    assert row is not None
    assert row["links"] == 0
    for method in ("RevokeInvite", "ResendInvite"):
        gone = await refused(
            control, admin, method, form=form, org_id=org, invitation_id=invitation.id
        )
        assert (gone.code, gone.reason) == ("not_found", "INVITATION_NOT_FOUND")
        assert gone.resource == ("invitation", invitation.id)
    assert await control.audit_actions() == ["org.invitation.create", "org.invitation.revoke"]


@FORMS
async def test_invitations_of_others_do_not_exist(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    other_admin, other_org = await admin_of_new(control)
    invitation = (await sent(control, other_admin, other_org)).row
    for method in ("RevokeInvite", "ResendInvite"):
        for invitation_id in (invitation.id, NOWHERE):
            refusal = await refused(
                control, admin, method, form=form, org_id=org, invitation_id=invitation_id
            )
            assert (refusal.code, refusal.reason) == ("not_found", "INVITATION_NOT_FOUND")
            assert refusal.resource == ("invitation", invitation_id)
    assert len(await live_links(control, invitation.id)) == 1
    assert not (await ask(control, admin, "ListInvitations", form=form, org_id=org)).invitations


@FORMS
async def test_an_accepted_invitation_is_not_pending(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    invitation = (await sent(control, admin, org, role=Role.VIEWER)).row
    person = await control.make_person(MINA)
    await accept(control, person, invitation.id)
    assert (await roles(control, org))[person.id] == "ORG_ROLE_VIEWER"
    for method in ("RevokeInvite", "ResendInvite"):
        refusal = await refused(
            control, admin, method, form=form, org_id=org, invitation_id=invitation.id
        )
        assert (refusal.code, refusal.reason) == ("failed_precondition", "INVITATION_NOT_PENDING")
    with pytest.raises(Exception, match="does not hold"):
        await accept(control, person, invitation.id)
    # A former member can be invited again.
    await ask(control, admin, "RemoveMember", org_id=org, customer_id=person.id)
    await ask(control, admin, "InviteMember", form=form, org_id=org, email=MINA)


@FORMS
async def test_all_states_are_listed_newest_first(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    for index, name in enumerate(("a", "b", "c")):
        row = (await sent(control, admin, org, f"{name}@pug.test")).row
        if index == 1:
            await accept(control, await control.make_person(row.email), row.id)
        control.clock.advance(60)
    listed = (await ask(control, admin, "ListInvitations", form=form, org_id=org)).invitations
    assert [(each.email, each.status) for each in listed] == [
        ("c@pug.test", InvitationStatus.PENDING),
        ("b@pug.test", InvitationStatus.ACCEPTED),
        ("a@pug.test", InvitationStatus.PENDING),
    ]


async def test_a_member_who_accepts_stays_what_they_are(control: ControlStack):
    """Already a member is success [services 5]; the role is not lowered."""
    admin, org = await admin_of_new(control)
    invitation = (await sent(control, admin, org, role=Role.VIEWER)).row
    person = await control.make_person(MINA)
    await control.join(person, org, Role.ADMIN)
    await accept(control, person, invitation.id)
    assert (await roles(control, org))[person.id] == "ORG_ROLE_ADMIN"
    row = await control.database.row("SELECT status FROM org_invitations")
    assert row is not None
    assert row["status"] == "INVITATION_STATUS_ACCEPTED"


async def test_the_mail_job_carries_the_one_link_that_opens(engines: Settings, tmp_path: Path):
    """Published after the commit, under the id of the link's row [workers 4.1]."""
    email = EmailSettings(sender="pug@pug.test", smtp=SmtpSettings(host="127.0.0.1", port=9))
    settings = Settings(data_dir=tmp_path, email=email)
    async with control_stack(engines, settings) as control:
        admin, org = await admin_of_new(control)
        answer = await ask(control, admin, "InviteMember", org_id=org, email=MINA)
        await ask(control, admin, "ResendInvite", org_id=org, invitation_id=answer.invitation.id)
        jetstream = await control.services._streams.jetstream()
        message = await jetstream.get_last_msg("misc", "misc.email.jobs")
        assert message.data is not None
        job = EmailJob.from_binary(message.data)
        assert job.payload is not None
        invite = job.payload.value
        assert (invite.email, invite.invitation_id) == (MINA, answer.invitation.id)
        assert len(invite.token) == 32
        assert await live_links(control, answer.invitation.id) == [hash_of(invite.token)]
        row = await control.database.row(
            "SELECT id FROM email_action_tokens WHERE consume_time IS NULL"
        )
        assert row is not None
        assert row["id"] == job.dispatch_id
