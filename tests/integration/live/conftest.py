"""An API process on real engines, and services that make projects behind its back."""

from collections.abc import AsyncGenerator, Generator

import httpx
import pytest

from appliance.config.model import Settings
from appliance.services.wiring import Services
from tests.support.api_services import api_process
from tests.support.live import WAIT_SECONDS, Watched, make_watched, prepared


@pytest.fixture(scope="module")
async def services(engines: Settings, anyio_backend: str) -> AsyncGenerator[Services]:
    async with prepared(engines) as opened:
        yield opened


@pytest.fixture(scope="module")
def url(engines: Settings, services: Services) -> Generator[str]:
    assert services.live
    with api_process("--stores", str(engines.data_dir)) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def client(url: str) -> AsyncGenerator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_SECONDS, limits=limits) as opened:
        yield opened


@pytest.fixture
async def watched(services: Services) -> Watched:
    return await make_watched(services)
