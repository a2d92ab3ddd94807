"""From an SDK's call to the person that the dashboard shows, through the real application."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest

from appliance.api.app import create_app
from appliance.base.clock import SystemClock
from appliance.base.tasks import poll
from appliance.config.model import Settings
from appliance.gen.sdk.profiles.v1.profiles_pb import IdentifyRequest
from appliance.gen.shared.profiles.v1.profiles_pb import Profile
from appliance.workers.duty import Duty
from appliance.workers.profiles import profile_duties
from tests.support.control import Refusal
from tests.support.people import PeopleWorld
from tests.support.rpc import details

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

IDENTIFY = "/sdk.profiles.v1.ProfilesSDKService/Identify"
WAIT_SECONDS = 60.0


@asynccontextmanager
async def named(world: PeopleWorld) -> AsyncGenerator[None]:
    """The workers of people, for the length of a block."""
    stop = asyncio.Event()

    async def run(duty: Duty) -> None:
        await duty.run(stop)

    async with asyncio.TaskGroup() as group:
        for duty in profile_duties(world.control.services.stores, Settings(), SystemClock()):
            group.create_task(run(duty))
        try:
            yield
        finally:
            stop.set()


@asynccontextmanager
async def sdk(world: PeopleWorld) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(world.control.services, Settings()))  # type: ignore[arg-type] ASGI, spelt by another library
    async with httpx.AsyncClient(transport=transport, base_url="http://pug.test") as client:
        yield client


async def test_a_visitor_gets_a_name(world: PeopleWorld, form: str) -> None:
    """One call: the person has name and traits, and the visitor's events are theirs."""
    _, public = await world.make_keys()
    await world.seen("anon-1", "cust-1")
    request = {
        "externalId": "cust-1",
        "anonymousId": "anon-1",
        "traits": {"plan": "pro", "n": 2, "$ip": "192.0.2.1"},
    }
    body = json.dumps(request).encode()
    if form == "proto":
        body = IdentifyRequest.from_json(body).to_binary()
    async with named(world), sdk(world) as client:
        answer = await client.post(
            IDENTIFY,
            headers={"x-api-key": public, "content-type": f"application/{form}"},
            content=body,
        )
        assert answer.status_code == 200, answer.text

        async def there() -> Profile | None:
            """An alias and its profile arrive one after the other, by workers of their own."""
            try:
                visitor = await world.get("anon-1")
                person = await world.get_external("cust-1", form)
            except Refusal:
                return None
            traits = json.loads(person.properties.to_json())
            named = visitor.external_id == "cust-1" and traits == {"plan": "pro", "n": 2}
            whole = person.activity is not None and person.activity.total_events == 2
            return person if named and whole else None

        person = await poll(there, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
        assert person is not None
        assert [one.id for one in await world.list()] == [person.id]
        numbers = (await client.get("/metrics")).text
    assert "profiles_identify_ip_stripped_total 1.0" in numbers


@pytest.mark.parametrize(
    ("request_body", "field"),
    [
        ({"externalId": "a\0b"}, "external_id"),
        ({"externalId": "ä" * 1025}, "external_id"),
        ({"externalId": "a", "anonymousId": "anon-\0"}, "anonymous_id"),
        ({"externalId": "a", "deviceId": "\0"}, "device_id"),
        ({"externalId": "a", "traits": {"big": "x" * (9 << 20)}}, "traits"),
    ],
)
async def test_what_no_store_takes_is_refused(
    world: PeopleWorld, request_body: dict[str, object], field: str
) -> None:
    """Told at the door, with the field; nothing comes into the queue."""
    private, _ = await world.make_keys()
    jetstream = await world.control.services.stores.streams.jetstream()
    before = (await jetstream.stream_info("profiles")).state.last_seq
    async with sdk(world) as client:
        answer = await client.post(IDENTIFY, headers={"x-api-key": private}, json=request_body)
    assert answer.status_code == 400
    found = details(answer.json())["google.rpc.BadRequest"]["fieldViolations"]
    assert [each["field"] for each in found] == [field]
    assert (await jetstream.stream_info("profiles")).state.last_seq == before


async def test_nobody_is_named_without_a_key(world: PeopleWorld) -> None:
    async with sdk(world) as client:
        answer = await client.post(IDENTIFY, json={"externalId": "a"})
    assert answer.status_code == 401
