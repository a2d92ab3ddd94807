"""A stage for each test of the workers."""

from collections.abc import AsyncGenerator

import pytest

from appliance.config.model import Settings
from tests.support.pipeline import Stage, open_stage


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def stage(engines: Settings, anyio_backend: str) -> AsyncGenerator[Stage]:
    async with open_stage(engines) as opened:
        yield opened
