"""Opening an invitation's link: the same page and RPC as a sign-in link [services 3.7, 5]."""

import asyncio

import pytest

from appliance.domain.access.roles import Role
from appliance.gen.dashboard.orgs.v1.orgs_pb import ListRequest, OrgRole
from appliance.gen.public.auth.v1.auth_pb import CompleteMagicLinkRequest, RequestMagicLinkRequest
from appliance.services.invitations import SentInvitation
from tests.support.control import ControlStack, Person
from tests.support.orgs import ORGS, acting, ask, hash_of, outcome, roles, until_waiting

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FORMS = pytest.mark.parametrize("form", ["json", "proto"])
AUTH = "public.auth.v1.AuthService"
MINA = "mina@pug.test"
WEEK_SECONDS = 7 * 24 * 3600


async def invited(
    control: ControlStack, role: Role = Role.VIEWER
) -> tuple[Person, str, SentInvitation]:
    org = await control.make_org()
    admin = await control.make_member(Role.ADMIN, org)
    sent = await control.services.control.invitations.invite(acting(admin), org, MINA, role)
    return admin, org, sent


async def open_link(control: ControlStack, sent: SentInvitation, form: str = "proto") -> str:
    """The access token that opening the link gives."""
    request = CompleteMagicLinkRequest(token=sent.token.reveal())
    answer = await control.call(f"{AUTH}/CompleteMagicLink", request, form=form)
    assert isinstance(answer.token, str)
    return answer.token


async def count(control: ControlStack, table: str) -> int:
    row = await control.database.row(f'SELECT count(*) AS rows FROM "{table}"')
    assert row is not None
    return int(str(row["rows"]))


@FORMS
async def test_a_newcomer_joins_and_gets_nothing_else(control: ControlStack, form: str):
    """No organisation or project of their own [services 3.10]."""
    _, org, sent = await invited(control)
    token = await open_link(control, sent, form)
    orgs = (await control.call(f"{ORGS}/List", ListRequest(), token=token, form=form)).orgs
    assert [(each.id, each.role) for each in orgs] == [(org, OrgRole.VIEWER)]
    assert (await count(control, "orgs"), await count(control, "projects")) == (1, 0)
    assert "org.invitation.accept" in await control.audit_actions()
    assert await outcome(open_link(control, sent, form)) == "INVALID_TOKEN"


async def test_somebody_known_joins(control: ControlStack):
    _, org, sent = await invited(control, Role.MEMBER)
    person = await control.make_person(MINA.upper())
    await open_link(control, sent)
    assert (await roles(control, org))[person.id] == "ORG_ROLE_MEMBER"


@FORMS
async def test_links_that_ended(control: ControlStack, form: str):
    admin, org, first = await invited(control)
    service = control.services.control.invitations
    second = await service.resend(acting(admin), org, first.row.id)
    assert await outcome(open_link(control, first, form)) == "INVALID_TOKEN"
    control.clock.advance(WEEK_SECONDS)
    assert await outcome(open_link(control, second, form)) == "INVALID_TOKEN"
    third = await service.resend(acting(admin), org, first.row.id)
    await service.revoke(acting(admin), org, first.row.id)
    assert await outcome(open_link(control, third, form)) == "INVALID_TOKEN"
    assert len(await roles(control, org)) == 1


async def test_a_sign_in_link_does_not_end_an_invitation(control: ControlStack):
    """Purposes are isolated [storage 1.1], and so are organisations."""
    _, org, sent = await invited(control)
    _, other_org, other = await invited(control, Role.MEMBER)
    await control.make_person(MINA)
    await control.call(f"{AUTH}/RequestMagicLink", RequestMagicLinkRequest(email=MINA))
    await open_link(control, sent)
    await open_link(control, other)
    assert (len(await roles(control, org)), len(await roles(control, other_org))) == (2, 2)


@pytest.mark.parametrize("known", [True, False])
async def test_two_browsers_open_one_link_at_once(control: ControlStack, known: bool):
    """Both wait for the link; one joins, the other is told; one membership, one customer."""
    _, org, sent = await invited(control)
    if known:
        await control.make_person(MINA)
    async with asyncio.TaskGroup() as group, control.database.transaction() as transaction:
        await transaction.execute(
            "SELECT 1 FROM email_action_tokens WHERE token_hash = $1 FOR UPDATE",
            hash_of(sent.token.reveal()),
        )
        tasks = [
            group.create_task(outcome(open_link(control, sent, form))) for form in ("json", "proto")
        ]
        await until_waiting(control, 2)
    assert sorted(task.result() for task in tasks) == ["INVALID_TOKEN", "ok"]
    assert len(await roles(control, org)) == 2
    assert await count(control, "customers") == 2


@pytest.mark.parametrize("known", [True, False])
async def test_one_person_opens_two_invitations_at_once(control: ControlStack, known: bool):
    """Two organisations, one new address: one customer, two memberships."""
    _, org, sent = await invited(control)
    _, other_org, other = await invited(control, Role.MEMBER)
    if known:
        await control.make_person(MINA)
    async with asyncio.TaskGroup() as group, control.database.transaction() as transaction:
        await transaction.execute("SELECT 1 FROM email_action_tokens FOR UPDATE")
        tasks = [group.create_task(outcome(open_link(control, each))) for each in (sent, other)]
        await until_waiting(control, 2)
    assert [task.result() for task in tasks] == ["ok", "ok"]
    assert await count(control, "customers") == 3
    assert sorted((await roles(control, org)).values()) == ["ORG_ROLE_ADMIN", "ORG_ROLE_VIEWER"]
    assert sorted((await roles(control, other_org)).values()) == [
        "ORG_ROLE_ADMIN",
        "ORG_ROLE_MEMBER",
    ]


async def test_opening_a_link_that_is_taken_back_at_once(control: ControlStack):
    admin, org, sent = await invited(control)
    async with asyncio.TaskGroup() as group, control.database.transaction() as transaction:
        await transaction.execute(
            "SELECT 1 FROM org_invitations WHERE id = $1 FOR UPDATE", sent.row.id
        )
        revokes = group.create_task(
            outcome(ask(control, admin, "RevokeInvite", org_id=org, invitation_id=sent.row.id))
        )
        await until_waiting(control, 1)
        opens = group.create_task(outcome(open_link(control, sent)))
        await until_waiting(control, 2)
    assert (revokes.result(), opens.result()) == ("ok", "INVALID_TOKEN")
    assert len(await roles(control, org)) == 1
