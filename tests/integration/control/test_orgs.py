"""Organisations and members through the real face [services 6.2]."""

import asyncio

import pytest

from appliance.domain.access.roles import Role
from appliance.gen.dashboard.orgs.v1.orgs_pb import OrgRole
from tests.support.control import ControlStack, Person
from tests.support.orgs import ask, held_org, refused, roles, until_waiting

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FORMS = pytest.mark.parametrize("form", ["json", "proto"])
NOWHERE = "x" * 20


async def admin_of_new(control: ControlStack, name: str = "Kennel") -> tuple[Person, str]:
    person, org = await control.make_person(), await control.make_org(name)
    await control.join(person, org)
    return person, org


@FORMS
async def test_create_makes_admin_project_and_key(control: ControlStack, form: str):
    person = await control.make_person()
    org = (await ask(control, person, "Create", form=form, display_name=" Pack ")).org
    assert (org.display_name, org.role) == ("Pack", OrgRole.ADMIN)
    row = await control.database.row(
        "SELECT p.display_name, p.reporting_timezone, k.kind FROM projects AS p"
        " JOIN api_keys AS k ON k.project_id = p.id WHERE p.org_id = $1",
        org.id,
    )
    assert row is not None
    assert tuple(row.values()) == ("default", "", "public")
    assert await roles(control, org.id) == {person.id: "ORG_ROLE_ADMIN"}
    assert await control.audit_actions() == ["org.create"]


@FORMS
async def test_a_name_has_1_to_150_characters(control: ControlStack, form: str):
    person = await control.make_person()
    for name in ("", "n" * 151, "   "):
        refusal = await refused(control, person, "Create", form=form, display_name=name)
        assert (refusal.code, refusal.fields) == ("invalid_argument", ["display_name"])
    assert await control.audit_actions() == []


@FORMS
async def test_create_beside_a_project_of_that_name(control: ControlStack, form: str):
    """Defensive [services 6.2]: somebody's trigger was faster. All is undone."""
    await control.database.execute(
        "CREATE FUNCTION be_faster() RETURNS trigger LANGUAGE plpgsql AS $faster$ BEGIN"
        " INSERT INTO projects (id, org_id, display_name) VALUES ('faster', NEW.id, 'default');"
        " RETURN NULL; END $faster$"
    )
    await control.database.execute(
        "CREATE TRIGGER faster AFTER INSERT ON orgs FOR EACH ROW EXECUTE FUNCTION be_faster()"
    )
    person = await control.make_person()
    refusal = await refused(control, person, "Create", form=form, display_name="Pack")
    assert (refusal.code, refusal.reason) == ("already_exists", "PROJECT_NAME_TAKEN")
    assert not (await ask(control, person, "List")).orgs


@FORMS
async def test_list_is_ordered_by_creation(control: ControlStack, form: str):
    person = await control.make_person()
    assert not (await ask(control, person, "List", form=form)).orgs
    for name, role in (("c", Role.VIEWER), ("a", Role.ADMIN), ("b", Role.MEMBER)):
        await control.join(person, await control.make_org(name), role)
    await control.make_org("not mine")
    orgs = (await ask(control, person, "List", form=form)).orgs
    assert [(org.display_name, org.role) for org in orgs] == [
        ("c", OrgRole.VIEWER),
        ("a", OrgRole.ADMIN),
        ("b", OrgRole.MEMBER),
    ]


@FORMS
@pytest.mark.parametrize("role", list(Role))
async def test_get_tells_the_callers_role(control: ControlStack, form: str, role: Role):
    org = await control.make_org("Kennel")
    person = await control.make_member(role, org)
    found = (await ask(control, person, "Get", form=form, org_id=org)).org
    assert (found.id, found.display_name, found.role.name) == (org, "Kennel", role.name)


@FORMS
async def test_rename(control: ControlStack, form: str):
    person, org = await admin_of_new(control)
    answer = await ask(
        control, person, "UpdateDisplayName", form=form, org_id=org, display_name="Pack"
    )
    assert (answer.org.id, answer.org.display_name, answer.org.role) == (org, "Pack", OrgRole.ADMIN)
    assert await control.audit_actions() == ["org.rename"]


@FORMS
async def test_members_are_listed_by_join_time(control: ControlStack, form: str):
    person, org = await admin_of_new(control)
    viewer = await control.make_member(Role.VIEWER, org)
    members = (await ask(control, viewer, "ListMembers", form=form, org_id=org)).members
    assert [(each.customer_id, each.email, each.org_id, each.role) for each in members] == [
        (person.id, person.email, org, OrgRole.ADMIN),
        (viewer.id, viewer.email, org, OrgRole.VIEWER),
    ]


@FORMS
async def test_remove_member(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    other = await control.make_member(Role.MEMBER, org)
    await ask(control, admin, "RemoveMember", form=form, org_id=org, customer_id=other.id)
    assert await roles(control, org) == {admin.id: "ORG_ROLE_ADMIN"}
    assert (await refused(control, other, "Get", org_id=org)).reason == "ORG_NOT_A_MEMBER"
    again = await refused(
        control, admin, "RemoveMember", form=form, org_id=org, customer_id=other.id
    )
    assert (again.code, again.reason) == ("not_found", "ORG_MEMBER_NOT_FOUND")
    assert again.resource == ("org_member", other.id)
    assert await control.audit_actions() == ["org.member.remove"]


@FORMS
async def test_nobody_removes_themselves(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    await control.make_member(Role.ADMIN, org)
    refusal = await refused(
        control, admin, "RemoveMember", form=form, org_id=org, customer_id=admin.id
    )
    assert (refusal.code, refusal.reason) == ("invalid_argument", "ORG_CANNOT_REMOVE_SELF")


@FORMS
async def test_change_a_role(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    other = await control.make_member(Role.VIEWER, org)

    async def change(person: Person, role: OrgRole) -> OrgRole:
        answer = await ask(
            control,
            admin,
            "UpdateMemberRole",
            form=form,
            org_id=org,
            customer_id=person.id,
            role=role,
        )
        assert (answer.member.customer_id, answer.member.email) == (person.id, person.email)
        return answer.member.role

    assert await change(other, OrgRole.ADMIN) == OrgRole.ADMIN
    assert await change(other, OrgRole.ADMIN) == OrgRole.ADMIN
    assert await change(admin, OrgRole.MEMBER) == OrgRole.MEMBER
    assert await control.audit_actions() == ["org.member.role", "org.member.role"]
    assert (
        await refused(
            control,
            admin,
            "UpdateMemberRole",
            org_id=org,
            customer_id=other.id,
            role=OrgRole.VIEWER,
        )
    ).reason == "ORG_ROLE_FORBIDDEN"


@FORMS
async def test_refused_changes_of_roles(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)

    async def told(customer_id: str, role: int) -> tuple[str, str]:
        refusal = await refused(
            control,
            admin,
            "UpdateMemberRole",
            form=form,
            org_id=org,
            customer_id=customer_id,
            role=OrgRole(role),
        )
        if refusal.reason == "ORG_MEMBER_NOT_FOUND":
            assert refusal.resource == ("org_member", customer_id)
        return refusal.code, refusal.reason

    last = ("failed_precondition", "CANNOT_DEMOTE_LAST_ADMIN")
    assert await told(admin.id, OrgRole.MEMBER) == last
    assert await told(admin.id, OrgRole.VIEWER) == last
    assert await told(NOWHERE, OrgRole.VIEWER) == ("not_found", "ORG_MEMBER_NOT_FOUND")
    assert await told(admin.id, OrgRole.UNSPECIFIED) == ("invalid_argument", "INVALID_ARGUMENT")


@FORMS
async def test_leave(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    other = await control.make_member(Role.MEMBER, org)
    last = await refused(control, admin, "Leave", form=form, org_id=org)
    assert (last.code, last.reason) == ("failed_precondition", "CANNOT_REMOVE_LAST_ADMIN")
    await ask(control, other, "Leave", form=form, org_id=org)
    assert await roles(control, org) == {admin.id: "ORG_ROLE_ADMIN"}
    for org_id in (org, NOWHERE):
        again = await refused(control, other, "Leave", form=form, org_id=org_id)
        assert (again.code, again.reason) == ("not_found", "ORG_MEMBER_NOT_FOUND")
        assert again.resource is None
    assert await control.audit_actions() == ["org.member.leave"]


@FORMS
async def test_the_last_member_cannot_leave(control: ControlStack, form: str):
    org = await control.make_org()
    only = await control.make_member(Role.VIEWER, org)
    refusal = await refused(control, only, "Leave", form=form, org_id=org)
    assert (refusal.code, refusal.reason) == ("failed_precondition", "CANNOT_LEAVE_AS_LAST_MEMBER")


async def test_a_disabled_administrator_does_not_count(control: ControlStack):
    """Who cannot sign in cannot administer: the other one stays."""
    admin, org = await admin_of_new(control)
    away = await control.make_member(Role.ADMIN, org)
    await control.database.execute(
        "UPDATE customers SET disable_time = now() WHERE id = $1", away.id
    )
    assert (await refused(control, admin, "Leave", org_id=org)).reason == (
        "CANNOT_REMOVE_LAST_ADMIN"
    )
    await ask(control, admin, "RemoveMember", org_id=org, customer_id=away.id)


@FORMS
async def test_an_organisation_that_goes_while_it_is_renamed(control: ControlStack, form: str):
    """ORG_NOT_FOUND is a race only: the guard has seen the membership already."""
    admin, org = await admin_of_new(control)
    async with asyncio.TaskGroup() as group, held_org(control, org) as transaction:
        task = group.create_task(
            refused(control, admin, "UpdateDisplayName", form=form, org_id=org, display_name="Gone")
        )
        await until_waiting(control, 1)
        await transaction.execute("DELETE FROM orgs WHERE id = $1", org)
    refusal = task.result()
    assert (refusal.code, refusal.reason) == ("not_found", "ORG_NOT_FOUND")
    assert refusal.resource == ("org", org)


@FORMS
async def test_an_organisation_that_goes_while_it_is_read(control: ControlStack, form: str):
    admin, org = await admin_of_new(control)
    async with asyncio.TaskGroup() as group, control.database.transaction() as transaction:
        await transaction.execute("LOCK TABLE orgs IN ACCESS EXCLUSIVE MODE")
        task = group.create_task(refused(control, admin, "Get", form=form, org_id=org))
        await until_waiting(control, 1)
        await transaction.execute("DELETE FROM orgs WHERE id = $1", org)
    refusal = task.result()
    assert (refusal.code, refusal.reason) == ("not_found", "ORG_NOT_FOUND")
    assert refusal.resource == ("org", org)


GATED = {
    "Get": ({}, Role.VIEWER),
    "ListMembers": ({}, Role.VIEWER),
    "UpdateDisplayName": ({"display_name": "Pack"}, Role.ADMIN),
    "RemoveMember": ({"customer_id": NOWHERE}, Role.ADMIN),
    "UpdateMemberRole": ({"customer_id": NOWHERE, "role": OrgRole.VIEWER}, Role.ADMIN),
    "InviteMember": ({"email": "mina@pug.test"}, Role.ADMIN),
    "ResendInvite": ({"invitation_id": NOWHERE}, Role.ADMIN),
    "RevokeInvite": ({"invitation_id": NOWHERE}, Role.ADMIN),
    "ListInvitations": ({}, Role.ADMIN),
}


@FORMS
async def test_strangers_and_low_roles_are_refused(control: ControlStack, form: str):
    """[services 4]: and a schema error hides both."""
    org = await control.make_org()
    stranger = await control.make_person()
    member = await control.make_member(Role.MEMBER, org)
    for method, (fields, needed) in GATED.items():
        for where in (org, NOWHERE, "a\0b"):
            refusal = await refused(control, stranger, method, form=form, org_id=where, **fields)
            assert (refusal.code, refusal.reason) == ("permission_denied", "ORG_NOT_A_MEMBER")
        empty = await refused(control, stranger, method, form=form, **fields)
        assert (empty.code, empty.fields) == ("invalid_argument", ["org_id"]), method
        if needed is Role.ADMIN:
            low = await refused(control, member, method, form=form, org_id=org, **fields)
            assert (low.code, low.reason) == ("permission_denied", "ORG_ROLE_FORBIDDEN"), method
    assert await control.audit_actions() == []


@FORMS
async def test_ids_that_no_database_holds(control: ControlStack, form: str):
    """They are wrong or unknown, and never a failure of ours."""
    admin, org = await admin_of_new(control)
    bad = "a\0b"
    for method, fields in {
        "Leave": {"org_id": bad},
        "RemoveMember": {"org_id": org, "customer_id": bad},
        "UpdateMemberRole": {"org_id": org, "customer_id": bad, "role": OrgRole.VIEWER},
        "ResendInvite": {"org_id": org, "invitation_id": bad},
        "RevokeInvite": {"org_id": org, "invitation_id": bad},
    }.items():
        refusal = await refused(control, admin, method, form=form, **fields)
        assert (refusal.code, refusal.reason) == ("invalid_argument", "INVALID_ARGUMENT")


@FORMS
async def test_without_a_token_nothing_is_answered(control: ControlStack, form: str):
    nobody = Person(id="", email="", token="")
    for method in (*GATED, "List", "Create", "Leave"):
        refusal = await refused(control, nobody, method, form=form)
        assert (refusal.code, refusal.reason) == ("unauthenticated", "UNAUTHENTICATED")
