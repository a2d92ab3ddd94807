"""ProjectsService by generated clients: accept paths and documented errors [services 6.3]."""

import asyncio

import pytest
from protobuf import Message

from appliance.base.errors import ConflictError, NotFoundError
from appliance.domain.access.roles import Role
from appliance.gen.dashboard.projects.v1.projects_pb import (
    ApiKeyKind,
    BatchGetRequest,
    CreateApiKeyRequest,
    CreateRequest,
    DeleteApiKeyRequest,
    DeleteRequest,
    GetRequest,
    ListApiKeysRequest,
    UpdateFCMServiceJSONRequest,
    UpdateMetaRequest,
)
from tests.support.control import ControlStack, Person, Refusal
from tests.support.locks import waits_for_a_lock

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SERVICE = "dashboard.projects.v1.ProjectsService"
SECRET = '{"private_key": "-----BEGIN"}'
OF_PROJECT: list[tuple[str, Message, Role]] = [
    ("Get", GetRequest(), Role.VIEWER),
    ("Delete", DeleteRequest(), Role.ADMIN),
    ("UpdateMeta", UpdateMetaRequest(display_name="x"), Role.ADMIN),
    ("UpdateFCMServiceJSON", UpdateFCMServiceJSONRequest(fcm_service_json="x"), Role.ADMIN),
    ("ListApiKeys", ListApiKeysRequest(), Role.VIEWER),
    ("CreateApiKey", CreateApiKeyRequest(kind=ApiKeyKind.PUBLIC), Role.ADMIN),
    ("DeleteApiKey", DeleteApiKeyRequest(id="x"), Role.ADMIN),
]


class Desk:
    """An administrator with an organisation and a project, and the form they speak."""

    def __init__(
        self, control: ControlStack, form: str, org: str, project: str, admin: Person
    ) -> None:
        self.control = control
        self.form = form
        self.org = org
        self.project = project
        self.admin = admin

    async def call(
        self,
        method: str,
        message: Message,
        *,
        who: Person | None = None,
        project: str | None = None,
    ):
        return await self.control.call(
            f"{SERVICE}/{method}",
            message,
            token=(who or self.admin).token,
            project=project,
            form=self.form,
        )

    async def here(self, method: str, message: Message, *, who: Person | None = None):
        """Call with the header that names the project."""
        return await self.call(method, message, who=who, project=self.project)

    async def refused(self, method: str, message: Message, **how: object) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.call(method, message, **how)  # type: ignore[arg-type]
        return caught.value


@pytest.fixture(params=["json", "proto"])
async def desk(request: pytest.FixtureRequest, control: ControlStack) -> Desk:
    org = await control.make_org()
    admin = await control.make_member(Role.ADMIN, org)
    project = await control.make_project(org)
    return Desk(control, request.param, org, project, admin)


async def test_create_makes_a_project_with_one_public_key(desk: Desk):
    made = (
        await desk.call(
            "Create",
            CreateRequest(org_id=desk.org, display_name=" New ", reporting_timezone="Asia/Tokyo"),
        )
    ).project
    assert (made.display_name, made.org_id, made.reporting_timezone) == (
        "New",
        desk.org,
        "Asia/Tokyo",
    )
    desk.project = made.id
    keys = (await desk.here("ListApiKeys", ListApiKeysRequest())).api_keys
    assert [(key.kind, key.display_name) for key in keys] == [(ApiKeyKind.PUBLIC, "")]
    principal = await desk.control.services.keys.resolve(keys[0].key)
    assert principal is not None
    assert principal.project_id == made.id
    assert await desk.control.audit_actions() == ["project.create"]


async def test_an_unknown_zone_at_creation_is_utc(desk: Desk):
    for zone in ("Mars/Olympus", "UTC", "", "posixrules", "Europe"):
        request = CreateRequest(org_id=desk.org, display_name=f"In {zone}", reporting_timezone=zone)
        assert (await desk.call("Create", request)).project.reporting_timezone == ""


async def test_names_are_taken_once_for_each_organisation(desk: Desk):
    taken = CreateRequest(org_id=desk.org, display_name="Shop")
    refusal = await desk.refused("Create", taken)
    assert (refusal.code, refusal.reason) == ("already_exists", "PROJECT_NAME_TAKEN")
    elsewhere = await desk.control.make_org("Pound")
    await desk.control.join(desk.admin, elsewhere)
    await desk.call("Create", CreateRequest(org_id=elsewhere, display_name="Shop"))


async def test_a_name_is_given_once_however_many_ask(desk: Desk):
    """Eight at once make one project with one key; the others are told that the name is taken."""
    request = CreateRequest(org_id=desk.org, display_name="Rush")
    answers = await asyncio.gather(
        *(desk.call("Create", request) for _ in range(8)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    assert [one.reason for one in refused] == ["PROJECT_NAME_TAKEN"] * 7
    assert len(await desk.control.database.rows("SELECT 1 FROM api_keys")) == 1


async def test_a_deletion_can_be_undone_for_thirty_days(desk: Desk):
    projects = desk.control.services.projects
    await desk.here("Delete", DeleteRequest())
    await desk.call("Create", CreateRequest(org_id=desk.org, display_name="Shop"))
    with pytest.raises(ConflictError) as taken:
        await projects.restore_project(desk.project)
    assert taken.value.reason == "PROJECT_NAME_TAKEN"
    desk.control.clock.advance(30 * 86400 - 1)
    assert [one.display_name for one in await projects.list_deleted()] == ["Shop"]
    desk.control.clock.advance(1)
    assert await projects.list_deleted() == ()
    with pytest.raises(NotFoundError) as gone:
        await projects.restore_project(desk.project, display_name="Shop 2")
    assert gone.value.reason == "PROJECT_NOT_FOUND"


async def test_a_name_that_is_none(desk: Desk):
    """An explicitly empty name passes the schema and not the handler [services 12 #4]."""
    for name in ("", "   ", "x" * 151, "a\0b"):
        refusal = await desk.refused("Create", CreateRequest(org_id=desk.org, display_name=name))
        assert (refusal.code, refusal.reason, refusal.fields) == (
            "invalid_argument",
            "INVALID_ARGUMENT",
            ["display_name"],
        )


async def test_a_role_lost_in_between_makes_no_project(desk: Desk):
    """The guard saw an administrator; by the time the project is made, they are none."""
    control = desk.control
    async with control.database.transaction() as demotion:
        await demotion.execute(
            "UPDATE org_members SET role = 'ORG_ROLE_VIEWER' WHERE customer_id = $1", desk.admin.id
        )
        calling = asyncio.ensure_future(
            desk.call("Create", CreateRequest(org_id=desk.org, display_name="New"))
        )
        await waits_for_a_lock(control.database)
    with pytest.raises(Refusal) as caught:
        await calling
    assert (caught.value.code, caught.value.reason) == ("permission_denied", "ORG_ADMIN_REQUIRED")
    assert await control.database.rows("SELECT 1 FROM projects WHERE display_name = 'New'") == []


async def test_a_project_deleted_in_between(desk: Desk):
    """Whoever was let in while the project lived finds it gone."""
    control = desk.control
    acts = [(method, message) for method, message, role in OF_PROJECT if role is Role.ADMIN]
    for method, message in acts:
        project = await control.make_project(desk.org, method)
        made = await desk.call(
            "CreateApiKey", CreateApiKeyRequest(kind=ApiKeyKind.PUBLIC), project=project
        )
        named = method == "DeleteApiKey"
        sent = DeleteApiKeyRequest(id=made.api_key.id) if named else message
        async with control.database.transaction() as deletion:
            await deletion.execute(
                "UPDATE projects SET delete_time = now(), deleted_name = display_name,"
                " display_name = id WHERE id = $1",
                project,
            )
            await deletion.execute("DELETE FROM api_keys WHERE project_id = $1", project)
            calling = asyncio.ensure_future(desk.call(method, sent, project=project))
            await waits_for_a_lock(control.database)
        with pytest.raises(Refusal) as caught:
            await calling
        assert caught.value.code == "not_found"
        if named:
            assert caught.value.reason == "API_KEY_NOT_FOUND"
            assert caught.value.resource == ("api_key", made.api_key.id)
        else:
            assert caught.value.reason == "PROJECT_NOT_FOUND"
            assert caught.value.resource == ("project", project)


async def test_batch_get_lists_by_creation_and_only_the_organisation_s(desk: Desk):
    other = await desk.control.make_project(await desk.control.make_org("Pound"))
    second = await desk.control.make_project(desk.org, "Second", "Europe/Vienna")
    found = (await desk.call("BatchGet", BatchGetRequest(org_id=desk.org))).projects
    assert [one.id for one in found] == [desk.project, second]
    assert other not in {one.id for one in found}
    assert found[1].reporting_timezone == "Europe/Vienna"
    empty = await desk.control.make_org("Empty")
    await desk.control.join(desk.admin, empty, Role.VIEWER)
    assert (await desk.call("BatchGet", BatchGetRequest(org_id=empty))).projects == []


async def test_push_credentials_are_for_administrators(desk: Desk):
    """Stored unchecked, and never shown to anybody else [services 12 #12]."""
    request = UpdateFCMServiceJSONRequest(fcm_service_json=SECRET)
    await desk.here("UpdateFCMServiceJSON", request)
    assert (await desk.here("Get", GetRequest())).project.fcm_service_json == SECRET
    listed = await desk.call("BatchGet", BatchGetRequest(org_id=desk.org))
    assert listed.projects[0].fcm_service_json == SECRET
    for role in (Role.MEMBER, Role.VIEWER):
        person = await desk.control.make_member(role, desk.org)
        got = await desk.here("Get", GetRequest(), who=person)
        assert got.project.fcm_service_json == ""
        listed = await desk.call("BatchGet", BatchGetRequest(org_id=desk.org), who=person)
        assert listed.projects[0].fcm_service_json == ""
    await desk.here("UpdateFCMServiceJSON", UpdateFCMServiceJSONRequest(fcm_service_json="no json"))
    assert (await desk.here("Get", GetRequest())).project.fcm_service_json == "no json"
    log = await desk.control.database.rows("SELECT details::text AS told FROM audit_entries")
    assert not any("BEGIN" in str(row["told"]) or "no json" in str(row["told"]) for row in log)


async def test_update_meta_changes_what_is_set(desk: Desk):
    async def update(**fields: str):
        return (await desk.here("UpdateMeta", UpdateMetaRequest(**fields))).project  # type: ignore[arg-type]

    both = await update(display_name="Store", reporting_timezone="Europe/Vienna")
    assert (both.display_name, both.reporting_timezone) == ("Store", "Europe/Vienna")
    assert (await update(display_name="Stall")).reporting_timezone == "Europe/Vienna"
    assert (await update(reporting_timezone="UTC")).reporting_timezone == ""
    assert (await update()).display_name == "Stall"
    assert await desk.control.audit_actions() == ["project.update"] * 3


async def test_update_meta_refuses(desk: Desk):
    zone = await desk.refused(
        "UpdateMeta", UpdateMetaRequest(reporting_timezone="Mars/Olympus"), project=desk.project
    )
    assert (zone.code, zone.reason) == ("invalid_argument", "INVALID_TIMEZONE")
    assert "timezone" in zone.message.lower(), "the dashboard looks for the word [services 6.3]"
    await desk.control.make_project(desk.org, "Store")
    taken = await desk.refused(
        "UpdateMeta", UpdateMetaRequest(display_name="Store"), project=desk.project
    )
    assert (taken.code, taken.reason) == ("already_exists", "PROJECT_NAME_TAKEN")
    blank = await desk.refused(
        "UpdateMeta", UpdateMetaRequest(display_name="  "), project=desk.project
    )
    assert (blank.code, blank.fields) == ("invalid_argument", ["display_name"])
    assert (await desk.here("Get", GetRequest())).project.display_name == "Shop"


async def test_keys_are_shown_once(desk: Desk):
    """Public keys whole, private ones masked, and only their hash is kept [services 3.4]."""
    public = await desk.here(
        "CreateApiKey", CreateApiKeyRequest(kind=ApiKeyKind.PUBLIC, display_name="web")
    )
    private = await desk.here("CreateApiKey", CreateApiKeyRequest(kind=ApiKeyKind.PRIVATE))
    assert public.api_key.key == public.key
    assert not private.api_key.has_field("key")
    assert private.key.startswith("prv_")
    listed = (await desk.here("ListApiKeys", ListApiKeysRequest())).api_keys
    assert [key.id for key in listed] == [public.api_key.id, private.api_key.id]
    assert listed[0].key == public.key
    assert listed[0].display_name == "web"
    assert not listed[1].has_field("key")
    assert listed[1].masked == f"{private.key[:4]}...{private.key[-4:]}"
    assert listed[1].create_time == private.api_key.create_time
    rows = await desk.control.database.rows("SELECT * FROM api_keys")
    assert private.key not in str([dict(row) for row in rows])
    for made in (public, private):
        principal = await desk.control.services.keys.resolve(made.key)
        assert principal is not None
        assert principal.key_id == made.api_key.id


async def test_a_deleted_key_is_gone_at_once(desk: Desk):
    made = await desk.here("CreateApiKey", CreateApiKeyRequest(kind=ApiKeyKind.PRIVATE))
    keys = desk.control.services.keys
    assert await keys.resolve(made.key) is not None
    await desk.here("DeleteApiKey", DeleteApiKeyRequest(id=made.api_key.id))
    desk.control.clock.advance(1)
    assert await keys.resolve(made.key) is None
    gone = await desk.refused(
        "DeleteApiKey", DeleteApiKeyRequest(id=made.api_key.id), project=desk.project
    )
    assert (gone.code, gone.reason) == ("not_found", "API_KEY_NOT_FOUND")
    assert gone.resource == ("api_key", made.api_key.id)
    assert await desk.control.audit_actions() == ["project.key.create", "project.key.delete"]


async def test_a_key_of_another_project_is_not_found(desk: Desk):
    other = await desk.control.make_project(desk.org, "Other")
    made = await desk.call(
        "CreateApiKey", CreateApiKeyRequest(kind=ApiKeyKind.PUBLIC), project=other
    )
    for named in (made.api_key.id, made.key, "", "x" * 400):
        refusal = await desk.refused(
            "DeleteApiKey", DeleteApiKeyRequest(id=named), project=desk.project
        )
        assert (refusal.code, refusal.reason) == ("not_found", "API_KEY_NOT_FOUND")
    assert await desk.control.services.keys.resolve(made.key) is not None


async def test_a_deleted_project_is_gone_and_its_name_free(desk: Desk):
    """Its keys too; restored, all of it is back [issue 4 #4]."""
    key = (await desk.here("CreateApiKey", CreateApiKeyRequest(kind=ApiKeyKind.PUBLIC))).key
    control = desk.control
    assert await control.services.keys.resolve(key) is not None
    await desk.here("Delete", DeleteRequest())
    control.clock.advance(1)
    assert await control.services.keys.resolve(key) is None
    for method, message, _role in OF_PROJECT:
        refusal = await desk.refused(method, message, project=desk.project)
        assert (refusal.code, refusal.reason) == ("unauthenticated", "UNAUTHENTICATED")
    assert (await desk.call("BatchGet", BatchGetRequest(org_id=desk.org))).projects == []
    again = await desk.call("Create", CreateRequest(org_id=desk.org, display_name="Shop"))
    assert again.project.id != desk.project
    name = await control.services.projects.restore_project(desk.project, display_name="Shop 2")
    control.clock.advance(1)
    assert name == "Shop 2"
    assert (await desk.here("Get", GetRequest())).project.display_name == "Shop 2"
    assert await control.services.keys.resolve(key) is not None


async def test_roles(desk: Desk):
    """Refused alike: strangers, members whose role is too low, callers without a project."""
    people = {role: await desk.control.make_member(role, desk.org) for role in Role}
    stranger = await desk.control.make_member(Role.ADMIN)
    order = [Role.VIEWER, Role.MEMBER, Role.ADMIN]
    for method, message, lowest in OF_PROJECT:
        for role in order[: order.index(lowest)]:
            refusal = await desk.refused(method, message, who=people[role], project=desk.project)
            assert (refusal.code, refusal.reason) == ("permission_denied", "ORG_ROLE_FORBIDDEN")
        refusal = await desk.refused(method, message, who=stranger, project=desk.project)
        assert refusal.reason == "UNAUTHENTICATED"
        assert (await desk.refused(method, message)).reason == "UNAUTHENTICATED"
    for method, message, lowest in OF_PROJECT:
        if lowest is Role.VIEWER:
            await desk.here(method, message, who=people[Role.VIEWER])


async def test_roles_in_the_organisation(desk: Desk):
    stranger = await desk.control.make_member(Role.ADMIN)
    for org in (desk.org, "nowhere"):
        for method, message in (
            ("BatchGet", BatchGetRequest(org_id=org)),
            ("Create", CreateRequest(org_id=org, display_name="New")),
        ):
            refusal = await desk.refused(method, message, who=stranger)
            assert (refusal.code, refusal.reason) == ("permission_denied", "ORG_NOT_A_MEMBER")
            with pytest.raises(Refusal) as caught:
                await desk.control.call(f"{SERVICE}/{method}", message, form=desk.form)
            assert (caught.value.code, caught.value.reason) == (
                "unauthenticated",
                "UNAUTHENTICATED",
            )
    for role in (Role.MEMBER, Role.VIEWER):
        person = await desk.control.make_member(role, desk.org)
        create = CreateRequest(org_id=desk.org, display_name="New")
        refusal = await desk.refused("Create", create, who=person)
        assert (refusal.code, refusal.reason) == ("permission_denied", "ORG_ROLE_FORBIDDEN")


BROKEN: list[tuple[str, Message, str]] = [
    ("BatchGet", BatchGetRequest(), "org_id"),
    ("Create", CreateRequest(org_id="x"), "display_name"),
    (
        "Create",
        CreateRequest(org_id="x", display_name="x", reporting_timezone="a b"),
        "reporting_timezone",
    ),
    ("UpdateMeta", UpdateMetaRequest(display_name=""), "display_name"),
    ("UpdateMeta", UpdateMetaRequest(reporting_timezone="a b"), "reporting_timezone"),
    ("CreateApiKey", CreateApiKeyRequest(), "kind"),
    ("CreateApiKey", CreateApiKeyRequest(kind=ApiKeyKind.UNSPECIFIED), "kind"),
    (
        "CreateApiKey",
        CreateApiKeyRequest(kind=ApiKeyKind.PUBLIC, display_name="x" * 151),
        "display_name",
    ),
    ("DeleteApiKey", DeleteApiKeyRequest(), "id"),
]


async def test_schema(desk: Desk):
    for method, message, field in BROKEN:
        refusal = await desk.refused(method, message, project=desk.project)
        assert (refusal.code, refusal.reason) == ("invalid_argument", "INVALID_ARGUMENT")
        assert field in refusal.fields


async def test_a_nul_is_no_internal_error(desk: Desk):
    for method, message in (
        ("UpdateFCMServiceJSON", UpdateFCMServiceJSONRequest(fcm_service_json="a\0")),
        ("CreateApiKey", CreateApiKeyRequest(kind=ApiKeyKind.PUBLIC, display_name="a\0")),
        ("DeleteApiKey", DeleteApiKeyRequest(id="a\0")),
    ):
        refusal = await desk.refused(method, message, project=desk.project)
        assert refusal.code == "invalid_argument"
