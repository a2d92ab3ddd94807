"""A stage for each test of erasures."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from appliance.config.model import Settings
from tests.support.erasure_stage import ErasureStage, open_erasure_stage


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def stage(
    engines: Settings, tmp_path: Path, anyio_backend: str
) -> AsyncGenerator[ErasureStage]:
    async with open_erasure_stage(engines, tmp_path / "erasures") as opened:
        yield opened
