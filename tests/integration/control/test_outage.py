"""A database that is away: callers are told to come again, none is signed out [services 12 #23]."""

import socket
import uuid
from collections.abc import AsyncGenerator

import httpx
import msgspec
import pytest

from appliance.api.app import create_app
from appliance.config.endpoints import PostgresEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.domain.access.permissions import GATES, GateKind
from appliance.services.wiring import Services
from tests.support.clocks import FixedClock
from tests.support.messages import ANALYTICS, CONTROL, request_descriptors

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

REQUESTS = request_descriptors((*CONTROL, *ANALYTICS))
BEHIND_SIGN_IN = sorted(
    path for path in REQUESTS if GATES[path].kind in {GateKind.SELF, GateKind.ORG, GateKind.PROJECT}
)
ASKS_THE_DATABASE = {
    "public.auth.v1.AuthService/SignInWithEmail": {"email": "a@pug.test", "password": "x" * 12},
    "public.auth.v1.AuthService/RefreshSession": {"refreshToken": "x" * 43},
    "public.auth.v1.AuthService/CompleteMagicLink": {"token": "x" * 43},
}


@pytest.fixture
async def away(engines: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """The application with a database nobody listens for."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        url = f"postgresql://pug:x@127.0.0.1:{taken.getsockname()[1]}/pug"
        endpoints = msgspec.structs.replace(
            resolve_endpoints(engines),
            postgres=PostgresEndpoint(url=Secret(url), pool_size_max=2, external=True),
        )
        settings, clock = Settings(data_dir=engines.data_dir), FixedClock()
        services = Services(
            endpoints,
            name="pug-test",
            clock=clock,
            settings=settings,
            signing_key=Secret(uuid.uuid4().hex * 2),
        )
        transport = httpx.ASGITransport(create_app(services, settings, clock=clock))  # pyright: ignore[reportArgumentType] Litestar's own ASGI types
        token = services.control.tokens.issue("a" * 20)
        headers = {"authorization": f"Bearer {token}", "x-project-id": "b" * 20}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://pug.test", headers=headers
        ) as client:
            yield client
        await services.close()


@pytest.mark.parametrize("path", BEHIND_SIGN_IN)
async def test_signed_in_callers_are_told_to_come_again(away: httpx.AsyncClient, path: str) -> None:
    ids = {field.json_name: "c" * 20 for field in REQUESTS[path].fields if field.name == "org_id"}
    answer = await away.post(f"/{path}", json=ids)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text


@pytest.mark.parametrize("path", sorted(ASKS_THE_DATABASE))
async def test_signing_in_is_not_refused(away: httpx.AsyncClient, path: str) -> None:
    answer = await away.post(f"/{path}", json=ASKS_THE_DATABASE[path])
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text


@pytest.mark.parametrize("path", ["sdk.events.v1.EventsService/BatchCreate"])
async def test_a_key_is_not_refused(away: httpx.AsyncClient, path: str) -> None:
    """An SDK keeps its batch and sends it again."""
    answer = await away.post(f"/{path}", json={}, headers={"x-api-key": f"pub_{'0' * 32}"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
