"""GetFilterSchema and GetPropertyValues, the same on insights and activity [insights 17]."""

from datetime import timedelta
from typing import Any

import pytest

from appliance.gen.common.v1.filter_schema_pb import (
    GetFilterSchemaRequest,
    GetFilterSchemaResponse,
    PropertySource,
    PropertyValueType,
)
from appliance.gen.shared.activity.v1 import activity_pb
from appliance.gen.shared.insights.v1 import insights_pb
from tests.support.control import Refusal
from tests.support.people import PeopleWorld

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SERVICES: dict[str, Any] = {
    "shared.activity.v1.ActivityService": activity_pb.GetPropertyValuesRequest,
    "shared.insights.v1.InsightsService": insights_pb.GetPropertyValuesRequest,
}
TEXT = PropertyValueType.STRING


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def fill(world: PeopleWorld) -> None:
    """Two kinds, several types of values, one profile alive and one deleted."""
    now = world.control.clock.now()
    for number, moment in enumerate((now - timedelta(days=40), now - timedelta(days=1))):
        await world.add_events(
            {
                "distinct_id": "u1",
                "kind": "purchase",
                "occur_time": f"{moment:%Y-%m-%d %H:%M:%S}",
                "country": "NO",
                "mobile": True,
                "auto_properties": {"$plan": f"sp{number}", "$platform": "sodd"},
                "custom_properties": {
                    "price": f"d{number}.5",
                    "count": f"i{number}",
                    "ok": "btrue",
                },
            }
        )
    await world.add_events(
        {
            "distinct_id": "u1",
            "kind": "view",
            "occur_time": f"{now:%Y-%m-%d %H:%M:%S}",
            "custom_properties": {"at": "t2026-01-01 00:00:00.000", "count": "sseven"},
        }
    )
    traits = {"name": "Ada", "age": 36, "address": {"city": "Oslo"}, "since": "2020-01-01"}
    await world.add_profile("P1", "e1", properties={**traits, "tags": [1], "vip": True, "x": 1.5})
    await world.add_profile("P2", "e2", properties={"name": "Bob", "secret": 1}, deleted=True)
    await world.add_profile("P3", "e3", properties={"name": "Cleo", "gone": None})


async def schema(
    world: PeopleWorld, service: str, form: str, **fields: Any
) -> GetFilterSchemaResponse:
    return await world.call(f"{service}/GetFilterSchema", GetFilterSchemaRequest(**fields), form)


async def test_filter_schema(world: PeopleWorld, form: str, service: str) -> None:
    """Kinds, keys of each source with type and count, promoted ones always."""
    await fill(world)
    found = await schema(world, service, form)
    assert [(one.name, one.count) for one in found.events] == [("purchase", 2), ("view", 1)]
    auto = {one.name: one for one in found.auto_property_keys}
    assert len(auto) == len(found.auto_property_keys) == 24
    assert not {"$mobile", "$bot_score", "$verified_bot"} & auto.keys()
    assert (auto["$country"].count, auto["$country"].value_type) == (2, TEXT)
    yesterday = (world.control.clock.now() - timedelta(days=1)).date()
    assert auto["$country"].last_seen_at is not None
    assert auto["$country"].last_seen_at.to_datetime().date() == yesterday
    assert (auto["$url"].count, auto["$url"].last_seen_at) == (0, None)
    assert (auto["$plan"].count, auto["$plan"].value_type) == (2, TEXT)
    assert [one.name for one in found.auto_property_keys[:2]] == ["$country", "$plan"]
    custom = {one.name: one.value_type for one in found.custom_property_keys}
    assert custom == {
        "count": PropertyValueType.INTEGER,
        "ok": PropertyValueType.BOOLEAN,
        "price": PropertyValueType.FLOAT,
        "at": PropertyValueType.DATETIME,
    }
    assert found.custom_property_keys[0].name == "count"
    assert found.custom_property_keys[0].count == 3
    profile = {one.name: (one.value_type, one.count) for one in found.profile_property_keys}
    assert profile == {
        "name": (TEXT, 2),
        "age": (PropertyValueType.INTEGER, 1),
        "address.city": (TEXT, 1),
        "since": (TEXT, 1),
        "tags": (PropertyValueType.OTHER, 1),
        "vip": (PropertyValueType.BOOLEAN, 1),
        "x": (PropertyValueType.FLOAT, 1),
    }


async def test_narrowed_schema(world: PeopleWorld, form: str, service: str) -> None:
    """By kind: keys of events; by type: all three lists; the list of kinds never."""
    await fill(world)
    found = await schema(world, service, form, event_kind="view")
    assert len(found.events) == 2
    assert {one.name for one in found.custom_property_keys} == {"at", "count"}
    assert len(found.auto_property_keys) == 23
    assert len(found.profile_property_keys) == 7
    numbers = [PropertyValueType.INTEGER, PropertyValueType.FLOAT]
    found = await schema(world, service, form, allowed_types=numbers)
    assert list(found.auto_property_keys) == []
    assert {one.name for one in found.custom_property_keys} == {"count", "price"}
    assert {one.name for one in found.profile_property_keys} == {"age", "x"}


async def test_an_empty_project(world: PeopleWorld, form: str, service: str) -> None:
    """Promoted keys are offered before the first event; answers are kept for a minute."""
    found = await schema(world, service, form)
    assert len(found.auto_property_keys) == 23
    assert not any(one.count or one.has_field("last_seen_at") for one in found.auto_property_keys)
    await world.seen("u1")
    assert not (await schema(world, service, form)).events
    world.control.clock.advance(61)
    assert [one.name for one in (await schema(world, service, form)).events] == ["page_view"]


async def test_property_values(world: PeopleWorld, form: str, service: str) -> None:
    """Text forms of the last thirty days, or of profiles that are not deleted."""
    await fill(world)
    auto, custom, profile = (
        PropertySource.AUTO,
        PropertySource.CUSTOM,
        PropertySource.PROFILE,
    )
    for key, source, kind, expected in (
        ("$plan", auto, "", {"p1"}),
        ("$plan", auto, "view", set()),
        ("$country", auto, "purchase", {"NO"}),
        ("$mobile", auto, "", {"true", "false"}),
        ("$bot_score", auto, "", set()),
        ("price", custom, "", {"1.5"}),
        ("count", custom, "", {"1", "seven"}),
        ("at", custom, "", {"2026-01-01 00:00:00.000"}),
        ("name", profile, "", {"Ada", "Cleo"}),
        ("address.city", profile, "view", {"Oslo"}),
        ("nothing", profile, "", set()),
    ):
        request = SERVICES[service](property_key=key, source=source, event_kind=kind)
        answer = await world.call(f"{service}/GetPropertyValues", request, form)
        assert set(answer.values) == expected, key
        assert len(answer.values) == len(expected)


async def test_a_hundred_values(world: PeopleWorld, service: str) -> None:
    """No more than that."""
    moment = f"{world.control.clock.now():%Y-%m-%d %H:%M:%S}"
    await world.add_events(
        *(
            {"distinct_id": "u1", "occur_time": moment, "custom_properties": {"n": f"i{number}"}}
            for number in range(250)
        )
    )
    request = SERVICES[service](property_key="n", source=PropertySource.CUSTOM)
    answer = await world.call(f"{service}/GetPropertyValues", request)
    assert len(set(answer.values)) == 100


async def test_refusals(world: PeopleWorld, form: str, service: str) -> None:
    """No source, an auto key without $, broken rules, no credential."""
    values = SERVICES[service]
    for request in (
        values(property_key="a", source=PropertySource.UNSPECIFIED),
        values(property_key="a", source=PropertySource.AUTO),
        values(property_key="a b", source=PropertySource.CUSTOM),
        values(source=PropertySource.CUSTOM),
    ):
        with pytest.raises(Refusal) as refused:
            await world.call(f"{service}/GetPropertyValues", request, form)
        told = (refused.value.code, refused.value.reason)
        assert told == ("invalid_argument", "INVALID_ARGUMENT")
    with pytest.raises(Refusal) as refused:
        await schema(world, service, form, event_kind="a b")
    assert refused.value.reason == "INVALID_ARGUMENT"
    good = values(property_key="a", source=PropertySource.CUSTOM)
    for method, request in (
        ("GetFilterSchema", GetFilterSchemaRequest()),
        ("GetPropertyValues", good),
    ):
        with pytest.raises(Refusal) as refused:
            await world.control.call(
                f"{service}/{method}", request, project=world.project, form=form
            )
        assert refused.value.reason == "UNAUTHENTICATED"
