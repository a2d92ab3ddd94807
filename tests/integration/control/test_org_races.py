"""Rules that hold however many requests arrive at once, and break without locks [services 6.2].

Each race has a control arm: the same statements in the same order without the organisation's lock.
"""

import asyncio

import pytest

from appliance.domain.access.memberships import removal_blocked, role_blocked
from appliance.domain.access.roles import Role
from appliance.gen.dashboard.orgs.v1.orgs_pb import OrgRole
from appliance.storage.postgres.orgs import find_standing, remove_member, set_role
from tests.support.control import ControlStack, Person
from tests.support.orgs import ask, at_once, roles

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def two_admins(control: ControlStack) -> tuple[str, Person, Person]:
    org = await control.make_org()
    return (
        org,
        await control.make_member(Role.ADMIN, org),
        await control.make_member(Role.ADMIN, org),
    )


async def admins(control: ControlStack, org: str) -> int:
    return list((await roles(control, org)).values()).count("ORG_ROLE_ADMIN")


async def test_two_last_admins_leave_at_once(control: ControlStack):
    org, one, two = await two_admins(control)
    outcomes = await at_once(
        control,
        org,
        ask(control, one, "Leave", org_id=org),
        ask(control, two, "Leave", org_id=org),
    )
    assert sorted(outcomes) == ["CANNOT_REMOVE_LAST_ADMIN", "ok"]
    assert await admins(control, org) == 1


@pytest.mark.parametrize("form", ["json", "proto"])
async def test_two_admins_remove_each_other_at_once(control: ControlStack, form: str):
    org, one, two = await two_admins(control)
    outcomes = await at_once(
        control,
        org,
        ask(control, one, "RemoveMember", form=form, org_id=org, customer_id=two.id),
        ask(control, two, "RemoveMember", form=form, org_id=org, customer_id=one.id),
    )
    assert sorted(outcomes) == ["CANNOT_REMOVE_LAST_ADMIN", "ok"]
    assert await admins(control, org) == 1


async def test_two_admins_demote_each_other_at_once(control: ControlStack):
    org, one, two = await two_admins(control)
    outcomes = await at_once(
        control,
        org,
        *(
            ask(
                control,
                who,
                "UpdateMemberRole",
                org_id=org,
                customer_id=whom.id,
                role=OrgRole.VIEWER,
            )
            for who, whom in ((one, two), (two, one))
        ),
    )
    assert sorted(outcomes) == ["CANNOT_DEMOTE_LAST_ADMIN", "ok"]
    assert await admins(control, org) == 1


async def test_a_crowd_of_admins_leaves_at_once(control: ControlStack):
    """Six wait in one queue; five go, the last stays."""
    org = await control.make_org()
    crowd = [await control.make_member(Role.ADMIN, org) for _ in range(6)]
    outcomes = await at_once(
        control, org, *(ask(control, each, "Leave", org_id=org) for each in crowd)
    )
    assert sorted(outcomes) == ["CANNOT_REMOVE_LAST_ADMIN", *["ok"] * 5]
    assert await admins(control, org) == 1


async def test_a_removed_admin_acts_no_more(control: ControlStack):
    """Who was removed while waiting is refused, though the guard let the request in."""
    org, one, two = await two_admins(control)
    third = await control.make_member(Role.ADMIN, org)
    outcomes = await at_once(
        control,
        org,
        ask(control, one, "RemoveMember", org_id=org, customer_id=two.id),
        ask(control, two, "RemoveMember", org_id=org, customer_id=one.id),
    )
    assert sorted(outcomes) == ["ORG_NOT_A_MEMBER", "ok"]
    assert len(await roles(control, org)) == 2
    assert third.id in await roles(control, org)


@pytest.mark.parametrize("demoting", [True, False])
async def test_without_the_lock_the_last_admin_is_lost(
    control: ControlStack,
    demoting: bool,
):
    """Control arm: both ask before either has written, both see the other, both go."""
    org, one, two = await two_admins(control)
    both_asked = asyncio.Barrier(2)

    async def go(person: Person) -> None:
        async with control.database.transaction() as transaction:
            standing = await find_standing(transaction, org, person.id)
            assert standing is not None
            if demoting:
                assert role_blocked(standing, Role.VIEWER) is None
            else:
                assert removal_blocked(standing) is None
            await both_asked.wait()
            if demoting:
                await set_role(transaction, org_id=org, customer_id=person.id, role=Role.VIEWER)
            else:
                await remove_member(transaction, org, person.id)

    async with asyncio.TaskGroup() as group:
        group.create_task(go(one))
        group.create_task(go(two))
    assert await admins(control, org) == 0
