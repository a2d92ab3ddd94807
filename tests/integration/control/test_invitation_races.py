"""Invitations that many send, take back and accept at once [services 3.7, 6.2]."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, LiteralString

import pytest

from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.domain.access.roles import Role
from appliance.storage.postgres.invitations import find_known, list_sends
from appliance.storage.postgres.pool import Transaction
from tests.support.control import ControlStack, Person
from tests.support.orgs import (
    acting,
    ask,
    at_once,
    hash_of,
    live_links,
    outcome,
    roles,
    until_waiting,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

MINA = "mina@pug.test"
DEADLOCK: Final = "40P01"
_LINK = """
SELECT invitation_id FROM email_action_tokens
WHERE token_hash = $1 AND consume_time IS NULL FOR UPDATE
"""


async def admin_of_new(control: ControlStack) -> tuple[Person, str]:
    org = await control.make_org()
    return await control.make_member(Role.ADMIN, org), org


async def invited(control: ControlStack, admin: Person, org: str) -> tuple[str, str]:
    """Id and secret of an invitation."""
    made = await control.services.control.invitations.invite(acting(admin), org, MINA, Role.MEMBER)
    return made.row.id, made.token.reveal()


@asynccontextmanager
async def opened_link(control: ControlStack, token: str) -> AsyncGenerator[tuple[Transaction, str]]:
    """What CompleteMagicLink does first: hold the link's row."""
    async with control.database.transaction() as transaction:
        row = await transaction.row(_LINK, hash_of(token))
        if row is None:
            raise InvalidInputError("INVALID_TOKEN", "this link does not hold")
        yield transaction, str(row["invitation_id"])


async def accept(control: ControlStack, person: Person, token: str) -> str:
    try:
        async with opened_link(control, token) as (transaction, invitation_id):
            await control.services.control.invitations.accept(
                transaction, acting(person), invitation_id=invitation_id, customer_id=person.id
            )
    except InvalidInputError as error:
        return error.reason
    return "ok"


async def test_one_address_invited_many_times_at_once(control: ControlStack):
    admin, org = await admin_of_new(control)
    outcomes = await at_once(
        control,
        org,
        *(
            ask(control, admin, "InviteMember", org_id=org, email=email)
            for email in (MINA, MINA.upper(), "Mina@pug.test", MINA)
        ),
    )
    assert sorted(outcomes) == [*["INVITATION_ALREADY_PENDING"] * 3, "ok"]


async def test_the_send_limit_holds_at_once(control: ControlStack):
    """Nine sent, four resends at once: one is the tenth."""
    admin, org = await admin_of_new(control)
    invitation_id, _ = await invited(control, admin, org)
    for _ in range(8):
        await ask(control, admin, "ResendInvite", org_id=org, invitation_id=invitation_id)
    outcomes = await at_once(
        control,
        org,
        *(
            ask(control, admin, "ResendInvite", org_id=org, invitation_id=invitation_id)
            for _ in range(4)
        ),
    )
    assert sorted(outcomes) == [*["INVITATION_SEND_LIMIT"] * 3, "ok"]
    assert len(await live_links(control, invitation_id)) == 1


async def test_without_the_lock_the_send_limit_breaks(control: ControlStack):
    """Control arm: both count nine before either has written."""
    admin, org = await admin_of_new(control)
    invitation_id, _ = await invited(control, admin, org)
    for _ in range(8):
        await ask(control, admin, "ResendInvite", org_id=org, invitation_id=invitation_id)
    both_asked = asyncio.Barrier(2)

    async def send(number: int) -> None:
        async with control.database.transaction() as transaction:
            assert len(await list_sends(transaction, invitation_id)) == 9
            await both_asked.wait()
            await transaction.execute(
                "INSERT INTO org_invitation_sends (id, invitation_id, send_time)"
                " VALUES ($1, $2, $3)",
                f"send{number}",
                invitation_id,
                control.clock.now(),
            )

    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(send(number))
    async with control.database.transaction() as transaction:
        assert len(await list_sends(transaction, invitation_id)) == 11


async def test_two_resends_at_once_leave_one_link(control: ControlStack):
    admin, org = await admin_of_new(control)
    invitation_id, _ = await invited(control, admin, org)
    outcomes = await at_once(
        control,
        org,
        *(
            ask(control, admin, "ResendInvite", org_id=org, invitation_id=invitation_id)
            for _ in range(3)
        ),
    )
    assert outcomes == ["ok"] * 3
    assert len(await live_links(control, invitation_id)) == 1


async def test_two_browsers_accept_at_once(control: ControlStack):
    """Both wait for the link's row; one becomes a member, the other finds the link used."""
    admin, org = await admin_of_new(control)
    _, token = await invited(control, admin, org)
    person = await control.make_person(MINA)
    async with asyncio.TaskGroup() as group, opened_link(control, token):
        tasks = [group.create_task(accept(control, person, token)) for _ in range(2)]
        await until_waiting(control, 2)
    assert sorted(task.result() for task in tasks) == ["INVALID_TOKEN", "ok"]
    assert await roles(control, org) == {admin.id: "ORG_ROLE_ADMIN", person.id: "ORG_ROLE_MEMBER"}


async def test_two_customers_cannot_share_one_invitation(control: ControlStack):
    admin, org = await admin_of_new(control)
    _, token = await invited(control, admin, org)
    one, two = await control.make_person(), await control.make_person()
    async with asyncio.TaskGroup() as group, opened_link(control, token):
        tasks = [group.create_task(accept(control, each, token)) for each in (one, two)]
        await until_waiting(control, 2)
    assert sorted(task.result() for task in tasks) == ["INVALID_TOKEN", "ok"]
    assert len(await roles(control, org)) == 2


@pytest.mark.parametrize("method", ["RevokeInvite", "ResendInvite"])
async def test_accepting_while_an_admin_acts_never_deadlocks(control: ControlStack, method: str):
    """Both take the link before the invitation: whoever is second is refused, nobody hangs."""
    admin, org = await admin_of_new(control)
    invitation_id, token = await invited(control, admin, org)
    person = await control.make_person(MINA)
    async with asyncio.TaskGroup() as group, opened_link(control, token) as (transaction, _):
        acts = group.create_task(
            outcome(ask(control, admin, method, org_id=org, invitation_id=invitation_id))
        )
        await until_waiting(control, 1)
        await control.services.control.invitations.accept(
            transaction, acting(person), invitation_id=invitation_id, customer_id=person.id
        )
    assert acts.result() == "INVITATION_NOT_PENDING"
    assert person.id in await roles(control, org)


async def test_in_opposite_order_they_do_deadlock(control: ControlStack):
    """Control arm: one holds the link and wants the invitation, the other the reverse."""
    admin, org = await admin_of_new(control)
    invitation_id, token = await invited(control, admin, org)
    both_hold = asyncio.Barrier(2)
    link, invitation = (
        ("SELECT 1 FROM email_action_tokens WHERE token_hash = $1 FOR UPDATE", hash_of(token)),
        ("SELECT 1 FROM org_invitations WHERE id = $1 FOR UPDATE", invitation_id),
    )

    async def take(first: tuple[LiteralString, str], second: tuple[LiteralString, str]) -> bool:
        try:
            async with control.database.transaction() as transaction:
                await transaction.execute(*first)
                await both_hold.wait()
                await transaction.execute(*second)
        except ApplianceError as error:
            return error.fields.get("sqlstate") != DEADLOCK
        return True

    outcomes = await asyncio.gather(take(link, invitation), take(invitation, link))
    assert sorted(outcomes) == [False, True]


@pytest.mark.parametrize("method", ["RevokeInvite", "ResendInvite"])
async def test_an_act_that_comes_first_ends_the_link(control: ControlStack, method: str):
    """The browser waits for the admin's transaction and then finds nothing that opens."""
    admin, org = await admin_of_new(control)
    invitation_id, token = await invited(control, admin, org)
    person = await control.make_person(MINA)
    async with asyncio.TaskGroup() as group, control.database.transaction() as transaction:
        await transaction.execute(
            "SELECT 1 FROM org_invitations WHERE id = $1 FOR UPDATE", invitation_id
        )
        acts = group.create_task(
            outcome(ask(control, admin, method, org_id=org, invitation_id=invitation_id))
        )
        await until_waiting(control, 1)
        opens = group.create_task(accept(control, person, token))
        await until_waiting(control, 2)
    assert acts.result() == "ok"
    assert opens.result() == "INVALID_TOKEN"
    assert person.id not in await roles(control, org)


async def test_inviting_whoever_is_accepting(control: ControlStack):
    """Member and pending invitation are seen in one moment: never a second invitation."""
    admin, org = await admin_of_new(control)
    invitation_id, token = await invited(control, admin, org)
    person = await control.make_person(MINA)
    async with opened_link(control, token) as (transaction, _):
        await control.services.control.invitations.accept(
            transaction, acting(person), invitation_id=invitation_id, customer_id=person.id
        )
        asked = ask(control, admin, "InviteMember", org_id=org, email=MINA)
        assert await outcome(asked) == "INVITATION_ALREADY_PENDING"
    asked = ask(control, admin, "InviteMember", org_id=org, email=MINA)
    assert await outcome(asked) == "ORG_MEMBER_ALREADY_EXISTS"
    async with control.database.transaction() as transaction:
        known = await find_known(transaction, org, MINA)
    assert (known.is_member, known.is_invited) == (True, False)
