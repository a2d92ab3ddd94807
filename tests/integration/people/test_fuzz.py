"""Whatever an SDK sends: no 500, what is refused goes no further, what is taken is stored."""

import asyncio
import json
from collections.abc import Generator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from appliance.api.app import create_app
from appliance.base.clock import SystemClock
from appliance.config.model import Settings
from appliance.gen.sdk.profiles.v1.profiles_pb import IdentifyRequest
from appliance.services.identify import EXTERNAL_ID_BYTES_MAX, IdentifyService
from appliance.storage.streams.deadletters import DeadLetters
from tests.support.api_services import MemoryServices
from tests.support.naming_stage import NamingStage, open_naming_stage
from tests.support.rpc import PUBLIC

pytestmark = pytest.mark.integration

IDENTIFY = "/sdk.profiles.v1.ProfilesSDKService/Identify"
PROJECT = "project1"
EXAMPLES = 10

TEXT = st.text(max_size=6) | st.sampled_from(["", "cookieless-1", "anon-1", "$ip", "a.b", "\0"])
NUMBER = st.integers() | st.floats() | st.sampled_from([1e308, 5e-324, -0.0, 2**53 + 1, 1e999])
VALUE = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "externalId": st.sampled_from(["e1", "e2", "ä" * 1024, "x" * 3000]) | TEXT,
        "traits": st.dictionaries(TEXT, VALUE, max_size=4),
        "anonymousId": st.sampled_from(["anon-1", "anon-" + "0" * 250, "anon-" + "0" * 251]) | TEXT,
        "deviceId": st.text(max_size=40),
    },
)
BODY = REQUEST | st.dictionaries(st.sampled_from(["externalId", "traits", "x"]), VALUE) | VALUE


class Running:
    """The application, its queue and its workers, until closed."""

    def __init__(self, engines: Settings) -> None:
        self.runner = asyncio.Runner()
        self._exits = AsyncExitStack()
        self.stage: NamingStage = self.runner.run(self._open(engines))

    async def _open(self, engines: Settings) -> NamingStage:
        stage = await self._exits.enter_async_context(open_naming_stage(engines))
        await stage.stores.postgres.execute(
            "INSERT INTO projects (id, org_id, display_name, reporting_timezone)"
            " VALUES ($1, 'o', 'Fuzz', '')",
            PROJECT,
        )
        services = MemoryServices()
        services.identify = IdentifyService(stage.stores.publisher, SystemClock())  # type: ignore[assignment] the real one
        self.client = await self._exits.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(services, Settings())),  # type: ignore[arg-type] ASGI, spelt by another library
                base_url="http://pug.test",
            )
        )
        return stage

    def close(self) -> None:
        self.runner.run(self._exits.aclose())
        self.runner.close()

    async def send(self, content: bytes, form: str) -> httpx.Response:
        headers = {**PUBLIC, "content-type": f"application/{form}"}
        answer = await self.client.post(IDENTIFY, headers=headers, content=content)
        assert answer.status_code in {200, 400}, answer.text
        if answer.status_code == 400:
            assert answer.json()["code"] == "invalid_argument"
            assert answer.json()["message"]
        return answer

    async def forget(self) -> None:
        """Begin anew."""
        await self.stage.stores.postgres.execute("DELETE FROM profiles")
        jetstream = await self.stage.stores.streams.jetstream()
        for stream in ("profiles", "dlq-profiles"):
            await jetstream.purge_stream(stream)


@pytest.fixture(scope="module")
def running(engines: Settings) -> Generator[Running]:
    opened = Running(engines)
    yield opened
    opened.close()


def stored(value: Any) -> Any:
    """A value as it is kept: no U+0000, and whole numbers are integers."""
    match value:
        case str():
            return value.replace("\0", "")
        case float() | int() if not isinstance(value, bool):
            return float(value)
        case list():
            return [stored(each) for each in value]
        case dict():
            return {key: stored(each) for key, each in value.items() if "\0" not in key}
        case _:
            return value


def encoded(body: Any, form: str) -> tuple[bytes, str]:
    """The body in this form; as JSON when it is not the message."""
    content = json.dumps(body).encode()
    if form == "proto":
        try:
            return IdentifyRequest.from_json(content).to_binary(), form
        except Exception:  # noqa: BLE001 whatever the library says of it
            return content, "json"
    return content, form


async def send_all(running: Running, bodies: list[tuple[Any, str]]) -> None:
    await running.forget()
    wanted: dict[str, dict[str, Any]] = {}
    nameless = 0
    for body, form in bodies:
        answer = await running.send(*encoded(body, form))
        if answer.status_code != 200:
            continue
        assert isinstance(body, Mapping)
        external_id = body["externalId"]
        assert len(external_id.encode()) <= EXTERNAL_ID_BYTES_MAX
        if not external_id:
            nameless += 1
            continue
        traits = {key: each for key, each in (body.get("traits") or {}).items() if key != "$ip"}
        wanted.setdefault(external_id, {}).update(stored(traits))
    async with running.stage.working():
        await running.stage.until_idle()
    profiles = await running.stage.profiles(PROJECT)
    assert {one["external_id"]: stored(one["properties"]) for one in profiles} == wanted
    dead = DeadLetters(running.stage.stores.streams).summaries("profiles")
    assert len([letter async for letter in dead]) == nameless


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=(Phase.explicit, Phase.generate),  # an example takes a second: shrinking takes for ever
)
@given(
    bodies=st.lists(st.tuples(BODY, st.sampled_from(["json", "proto"])), min_size=5, max_size=25)
)
def test_any_json(running: Running, bodies: list[tuple[Any, str]]) -> None:
    running.runner.run(send_all(running, bodies))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=st.data())
def test_any_bytes(running: Running, data: st.DataObject) -> None:
    """Bytes, and messages that were damaged on the way."""
    content = data.draw(st.binary(max_size=60))
    if data.draw(st.booleans()):
        whole = bytearray(IdentifyRequest(external_id="e1", anonymous_id="anon-1").to_binary())
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
        content = bytes(whole) + content
    form = data.draw(st.sampled_from(["proto", "json"]))
    running.runner.run(running.send(content, form))
