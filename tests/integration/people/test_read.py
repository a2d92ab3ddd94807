"""Get and GetByExternalId, versions, callers, and what a person looks like [profiles 4]."""

from datetime import timedelta

import pytest

from appliance.domain.access.roles import Role
from appliance.gen.shared.profiles.v1.profiles_pb import (
    GetByExternalIdRequest,
    GetRequest,
    ListRequest,
)
from tests.support.control import Refusal
from tests.support.people import NOON, SERVICE, PeopleWorld, make_people_world

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_a_person(world: PeopleWorld, form: str) -> None:
    """Every field, nulls left out, numbers as doubles."""
    traits = {"name": "Ada", "n": 7, "gone": None, "deep": {"x": [1, None], "gone": None}}
    created, updated = NOON, NOON + timedelta(microseconds=1234)
    await world.add_profile("P1", "e1", properties=traits, created=created, updated=updated)
    found = await world.get("P1", form)
    assert (found.id, found.external_id, found.project_id) == ("P1", "e1", world.project)
    assert found.properties is not None
    assert found.properties.to_python() == {"name": "Ada", "n": 7.0, "deep": {"x": [1.0, None]}}
    assert found.create_time is not None
    assert found.update_time is not None
    assert found.create_time.to_datetime() == created
    assert found.update_time.to_datetime() == updated
    assert found.activity is None
    assert await world.get_external("e1", form) == found
    assert await world.list(form=form) == [found]


async def test_an_anonymous_person(world: PeopleWorld, form: str) -> None:
    """Times are those of the first and the last event; the rest is empty but there."""
    await world.seen("anon-a", "other", "anon-a")
    found = await world.get("anon-a", form)
    assert found.has_field("external_id")
    assert found.external_id == ""
    assert found.properties is not None
    assert found.properties.to_python() == {}
    assert found.create_time is not None
    assert found.update_time is not None
    assert found.create_time.to_datetime() == NOON
    assert found.update_time.to_datetime() == NOON + timedelta(seconds=2)
    assert found.activity is not None
    assert found.activity.total_events == 2


async def test_the_latest_version_counts(world: PeopleWorld, form: str) -> None:
    """However rows arrive: of profiles, of tombstones, of aliases."""
    await world.add_profile("P1", "e1", properties={"n": 2}, version=20)
    await world.add_profile("P1", "e1", properties={"n": 1}, version=10)
    await world.add_profile("P2", "e2", deleted=True, version=20)
    await world.add_profile("P2", "e2", version=10)
    await world.add_profile("P3", "e3", version=30)
    await world.add_alias("anon-a", "P3", version=20)
    await world.add_alias("anon-a", "P1", version=10)
    found = await world.get("P1", form)
    assert found.properties is not None
    assert found.properties.to_python() == {"n": 2.0}
    assert (await world.get("anon-a", form)).id == "P3"
    assert {one.id for one in await world.list(form=form)} == {"P1", "P3"}
    with pytest.raises(Refusal):
        await world.get("P2", form)


async def test_events_of_a_moved_alias(world: PeopleWorld) -> None:
    """An alias that moved takes all of its events along; nobody counts them twice."""
    await world.add_profile("P1", "e1")
    await world.add_profile("P2", "e2")
    await world.add_alias("anon-a", "P1")
    await world.seen("anon-a", "anon-a", "e1")
    assert (await world.get("P1")).activity.total_events == 3  # type: ignore[union-attr]
    await world.add_alias("anon-a", "P2")
    assert (await world.get("P1")).activity.total_events == 1  # type: ignore[union-attr]
    assert (await world.get("P2")).activity.total_events == 2  # type: ignore[union-attr]


async def test_an_external_id_that_is_an_alias(world: PeopleWorld) -> None:
    """The set of ids is one without repetitions [profiles 4.1]."""
    await world.add_profile("P1", "anon-a")
    await world.add_alias("anon-a", "P1")
    await world.seen("anon-a", "P1")
    assert (await world.get("P1")).activity.total_events == 2  # type: ignore[union-attr]


async def test_several_with_one_external_id(world: PeopleWorld, form: str) -> None:
    """The one changed last, then the greatest id [profiles 4.3]; deleted ones do not count."""
    await world.add_profile("P1", "e1", updated=NOON)
    await world.add_profile("P2", "e1", updated=NOON + timedelta(seconds=1))
    await world.add_profile("P3", "e1", updated=NOON + timedelta(seconds=1))
    await world.add_profile("P4", "e1", updated=NOON + timedelta(seconds=9), deleted=True)
    assert (await world.get_external("e1", form)).id == "P3"


async def test_a_changed_external_id(world: PeopleWorld) -> None:
    """What an older row of a profile says finds nobody."""
    await world.add_profile("P1", "old")
    await world.add_profile("P1", "new")
    assert (await world.get_external("new")).id == "P1"
    with pytest.raises(Refusal):
        await world.get_external("old")
    await world.seen("old")
    assert {one.id for one in await world.list()} == {"P1", "old"}
    assert (await world.get("old")).id == "old"


@pytest.mark.parametrize("name", ["nobody", ""])
async def test_unknown_external_id(world: PeopleWorld, form: str, name: str) -> None:
    """Not found, naming what was asked."""
    await world.add_profile("P1", "")
    with pytest.raises(Refusal) as refused:
        await world.get_external(name, form)
    assert (refused.value.code, refused.value.reason) == ("not_found", "PROFILE_NOT_FOUND")
    assert refused.value.resource == ("profile", name)


async def test_odd_ids(world: PeopleWorld, form: str) -> None:
    """Ids are whatever the tenant says: quotes, zero bytes, emoji, backslashes."""
    for place, name in enumerate(("a'b", "a\\'b", "🐶 ü", "{p0:String}", "x\ty", "%", "null")):
        await world.add_profile(f"P{place}", name, properties={"quote": name})
        await world.seen(name)
        found = await world.get_external(name, form)
        assert found.external_id == name
        assert found.properties is not None
        assert found.properties.to_python() == {"quote": name}
        assert found.activity is not None
        assert found.activity.total_events == 1


MESSAGES = {
    "Get": (GetRequest(), GetRequest(id="P1")),
    "GetByExternalId": (GetByExternalIdRequest(), GetByExternalIdRequest(external_id="e1")),
}


@pytest.mark.parametrize("method", MESSAGES)
async def test_schema_and_callers(world: PeopleWorld, form: str, method: str) -> None:
    """The id must be sent; a credential and a project are needed; strangers see nothing."""
    empty, good = MESSAGES[method]
    await world.add_profile("P1", "e1")
    path = f"{SERVICE}/{method}"
    with pytest.raises(Refusal) as refused:
        await world.call(path, empty, form)
    assert (refused.value.code, refused.value.reason) == ("invalid_argument", "INVALID_ARGUMENT")
    for token, project in ((None, world.project), ("x", world.project)):
        with pytest.raises(Refusal) as refused:
            await world.control.call(path, good, token=token, project=project, form=form)
        assert refused.value.reason == "UNAUTHENTICATED"
    other = await make_people_world(world.control, Role.ADMIN)
    with pytest.raises(Refusal) as refused:
        await other.call(path, good, form)
    assert refused.value.reason == "PROFILE_NOT_FOUND"


async def test_list_needs_a_credential(world: PeopleWorld, form: str) -> None:
    """The stream is refused like any call."""
    for token in (None, "x"):
        with pytest.raises(Refusal) as refused:
            await world.control.call_stream(
                f"{SERVICE}/List", ListRequest(), token=token, project=world.project, form=form
            )
        assert (refused.value.code, refused.value.reason) == ("unauthenticated", "UNAUTHENTICATED")


async def test_private_keys(world: PeopleWorld, form: str) -> None:
    """A private key reads its own project; a public one nothing."""
    await world.add_profile("P1", "e1")
    private, public = await world.make_keys()
    answer = await world.control.call(
        f"{SERVICE}/Get", GetRequest(id="P1"), form=form, headers={"x-api-key": private}
    )
    assert answer.profile.id == "P1"
    pages = await world.control.call_stream(
        f"{SERVICE}/List", ListRequest(), form=form, headers={"x-api-key": private}
    )
    assert [one.id for page in pages for one in page.profiles] == ["P1"]
    with pytest.raises(Refusal) as refused:
        await world.control.call(
            f"{SERVICE}/Get", GetRequest(id="P1"), form=form, headers={"x-api-key": public}
        )
    assert refused.value.reason == "UNAUTHENTICATED"
