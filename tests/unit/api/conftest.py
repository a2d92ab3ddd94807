"""The application in front of services in memory, without a socket."""

from collections.abc import AsyncIterator

import httpx
import pytest

from appliance.api.app import create_app
from appliance.base.units import Bytes
from appliance.config.model import ApiSettings, Settings
from tests.support.api_services import MemoryServices

BODY_BYTES_MAX = 50_000


@pytest.fixture
def services() -> MemoryServices:
    return MemoryServices()


@pytest.fixture
def settings() -> Settings:
    return Settings(
        api=ApiSettings(
            body_bytes_max=Bytes(BODY_BYTES_MAX),
            cors_origins=("https://app.example", " https://*.pugs.example "),
        )
    )


@pytest.fixture
async def client(services: MemoryServices, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(services, settings), client=("203.0.113.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://pug.example") as found:
        yield found
