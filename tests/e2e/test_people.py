"""A visitor gets a name in the whole appliance, also when the worker is killed meanwhile."""

import os
import signal
from uuid import uuid4

import pytest

from tests.support.stack import Json, Stack, make_event, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

IDENTIFY = "/sdk.profiles.v1.ProfilesSDKService/Identify"
BY_EXTERNAL_ID = "/shared.profiles.v1.ProfilesService/GetByExternalId"
SHOWN_SECONDS_MAX = 120.0
"""What a killed worker had in hand comes again after 30 s [workers]."""


def identify(stack: Stack, **request: object) -> int:
    """Call as an SDK does, with the public key."""
    headers = {"x-api-key": stack.connection.public_key}
    return stack.client.post(IDENTIFY, json=request, headers=headers).status_code


def shown(stack: Stack, external_id: str, traits: Json, events: int) -> Json | None:
    """The person as a server sees it, once it has these traits and so many events."""
    headers = {"x-api-key": stack.connection.private_key}
    body = {"externalId": external_id}
    answer = stack.client.post(BY_EXTERNAL_ID, json=body, headers=headers)
    if answer.status_code != 200:
        return None
    person = answer.json()["profile"]
    counted = int(person.get("activity", {}).get("totalEvents", 0))
    return person if person.get("properties") == traits and counted == events else None


@pytest.mark.parametrize("killed", [False, True])
def test_a_visitor_gets_a_name(stack: Stack, *, killed: bool) -> None:
    """Events before and after the call are the named person's."""
    number = uuid4().hex[:8]
    anonymous_id, external_id = f"anon-{number}", f"cust-{number}"
    before, after = (make_event("people", distinct_id=name) for name in (anonymous_id, external_id))
    assert stack.post([before]).status_code == 200
    assert identify(stack, externalId=external_id, traits={"plan": "free", "n": 1}) == 200
    if killed:
        os.kill(stack.pid("background"), signal.SIGKILL)
    second = {"externalId": external_id, "anonymousId": anonymous_id, "traits": {"plan": "pro"}}
    assert identify(stack, **second) == 200
    assert stack.post([after]).status_code == 200
    until(
        lambda: shown(stack, external_id, {"plan": "pro", "n": 1}, events=2),
        what="the person",
        seconds=SHOWN_SECONDS_MAX,
    )
