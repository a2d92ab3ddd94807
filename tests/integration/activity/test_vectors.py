"""The activity vectors through the generated clients, in both forms [vectors: activity]."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from protobuf import Message

from appliance.gen.shared.activity.v1 import activity_pb
from tests.support.control import Refusal
from tests.support.event_rows import make_rows
from tests.support.insight_vectors import load_section
from tests.support.people import PeopleWorld

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SERVICE = "shared.activity.v1.ActivityService"


def message(rpc: str, request: Mapping[str, object]) -> Message:
    """The request of a vector."""
    return getattr(activity_pb, f"{rpc}Request").from_json(json.dumps(request))


@pytest.mark.parametrize("vector", load_section("activity"), ids=lambda vector: vector["id"])
async def test_vector(world: PeopleWorld, form: str, vector: Any) -> None:
    """Every case of the vector, in order; a token is that of the case before."""
    for profile in vector.get("profiles", ()):
        await world.add_profile(
            profile["id"], profile["external_id"], deleted=profile.get("deleted", False)
        )
    for alias in vector.get("aliases", ()):
        await world.add_alias(alias["alias_id"], alias["profile_id"])
    await world.store_events(make_rows(world.project, vector["events"]))
    path, token = f"{SERVICE}/{vector['rpc']}", ""
    for case in vector["cases"]:
        request = dict(case["request"])
        if str(request.get("pageToken", "")).startswith("<"):
            request["pageToken"] = token
        if "expect_error" in case:
            with pytest.raises(Refusal) as refused:
                await world.call(path, message(vector["rpc"], request), form)
            told = {"code": refused.value.code, "reason": refused.value.reason}
            assert told == case["expect_error"]
            continue
        answer = await world.call(path, message(vector["rpc"], request), form)
        if "expect" in case:
            assert json.loads(answer.to_json()) == case["expect"]
            continue
        assert [one.event_id for one in answer.events] == case["expect_event_ids"], case["name"]
        token = answer.next_page_token
        assert bool(token) == case["token"], case["name"]
        for event, wanted in zip(answer.events, case.get("expect_properties", ()), strict=False):
            assert json.loads(event.to_json())["autoProperties"] == wanted["autoProperties"]
            assert json.loads(event.to_json())["customProperties"] == wanted["customProperties"]
