"""Delete, DeleteDataSubject and GetDeletionRequest as callers meet them [services 7.4]."""

from collections.abc import AsyncGenerator

import pytest

from appliance.config.model import Settings
from appliance.domain.access.roles import Role
from appliance.gen.shared.profiles.v1.profiles_pb import (
    ComplianceRequestStatus,
    DeleteDataSubjectRequest,
    DeleteRequest,
    GetDeletionRequestRequest,
)
from appliance.storage.postgres.projects import KeyKind
from tests.support.control import Refusal, control_stack
from tests.support.people import SERVICE, PeopleWorld, make_people_world

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def world(engines: Settings) -> AsyncGenerator[PeopleWorld]:
    async with control_stack(engines, own_events=True) as control:
        yield await make_people_world(control, Role.MEMBER)


@pytest.fixture(params=["json", "proto"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_from_request_to_status(world: PeopleWorld, form: str) -> None:
    """Any id of a person finds one request; its state names what it is about."""
    await world.seen("anon-a")
    made = await world.call(f"{SERVICE}/Delete", DeleteRequest(id="anon-a"), form)
    assert made.status == ComplianceRequestStatus.PENDING
    again = await world.call(f"{SERVICE}/Delete", DeleteRequest(id="anon-a"), form)
    assert again.request_id == made.request_id
    subject = DeleteDataSubjectRequest(external_id="ghost")
    other = await world.call(f"{SERVICE}/DeleteDataSubject", subject, form)
    assert other.request_id != made.request_id
    state = await world.call(
        f"{SERVICE}/GetDeletionRequest", GetDeletionRequestRequest(request_id=made.request_id), form
    )
    assert (state.request_id, state.profile_id, state.external_id) == (
        made.request_id,
        "anon-a",
        "",
    )
    assert state.status == ComplianceRequestStatus.PENDING
    assert (state.events_identified, state.error) == (0, "")
    assert state.requested_at is not None
    assert state.completed_at is None
    (row,) = await world.control.database.rows(
        "SELECT requested_by FROM compliance_requests WHERE id = $1", made.request_id
    )
    assert row["requested_by"] == world.person.id


async def test_one_request_whatever_the_door(world: PeopleWorld) -> None:
    """By external id first, then by the same text as any id."""
    await world.seen("e1")
    subject = DeleteDataSubjectRequest(external_id="e1")
    made = await world.call(f"{SERVICE}/DeleteDataSubject", subject)
    again = await world.call(f"{SERVICE}/Delete", DeleteRequest(id="e1"))
    assert again.request_id == made.request_id


async def test_nobody_of_this_name(world: PeopleWorld, form: str) -> None:
    for path, message, name in (
        ("Delete", DeleteRequest(id="nobody"), "nobody"),
        ("Delete", DeleteRequest(id=""), ""),
        ("DeleteDataSubject", DeleteDataSubjectRequest(external_id=""), ""),
    ):
        with pytest.raises(Refusal) as refused:
            await world.call(f"{SERVICE}/{path}", message, form)
        assert (refused.value.code, refused.value.reason) == ("not_found", "PROFILE_NOT_FOUND")
        assert refused.value.resource == ("profile", name)
    with pytest.raises(Refusal) as refused:
        await world.call(
            f"{SERVICE}/GetDeletionRequest", GetDeletionRequestRequest(request_id="R0"), form
        )
    assert refused.value.reason == "DELETION_REQUEST_NOT_FOUND"
    assert refused.value.resource == ("deletion_request", "R0")


async def test_who_may_ask(world: PeopleWorld) -> None:
    """Viewers may look at a request, not make one; private keys may both, public ones nothing."""
    subject = DeleteDataSubjectRequest(external_id="e1")
    viewer = await world.control.make_member(Role.VIEWER, world.org)
    call = world.control.call
    with pytest.raises(Refusal) as refused:
        await call(
            f"{SERVICE}/DeleteDataSubject", subject, token=viewer.token, project=world.project
        )
    assert refused.value.code == "permission_denied"
    for kind, code in ((KeyKind.PRIVATE, ""), (KeyKind.PUBLIC, "unauthenticated")):
        key = await world.control.services.key_chain.create_key(world.project, kind)
        headers = {"x-api-key": key.key.reveal()}
        if code:
            with pytest.raises(Refusal) as refused:
                await call(f"{SERVICE}/DeleteDataSubject", subject, headers=headers)
            assert refused.value.code in {code, "permission_denied"}
        else:
            made = await call(f"{SERVICE}/DeleteDataSubject", subject, headers=headers)
            (row,) = await world.control.database.rows(
                "SELECT requested_by FROM compliance_requests WHERE id = $1", made.request_id
            )
            assert row["requested_by"] is None
            look = GetDeletionRequestRequest(request_id=made.request_id)
            path = f"{SERVICE}/GetDeletionRequest"
            seen = await call(path, look, token=viewer.token, project=world.project)
            assert seen.external_id == "e1"
            stranger = await make_people_world(world.control, Role.ADMIN)
            with pytest.raises(Refusal) as refused:
                await stranger.call(path, look)
            assert refused.value.reason == "DELETION_REQUEST_NOT_FOUND"
    assert await world.control.audit_actions() == [
        "project.key.create",
        "person.erase",
        "project.key.create",
    ]
