"""A stage for each test of the jobs: with PostgreSQL alone, or with all stores."""

from collections.abc import AsyncGenerator

import pytest

from appliance.config.model import Settings
from tests.support.jobs import JobStage, job_stage


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def stage(engines: Settings, anyio_backend: str) -> AsyncGenerator[JobStage]:
    async with job_stage(engines, events=False) as opened:
        yield opened


@pytest.fixture
async def full_stage(engines: Settings, anyio_backend: str) -> AsyncGenerator[JobStage]:
    async with job_stage(engines) as opened:
        yield opened
