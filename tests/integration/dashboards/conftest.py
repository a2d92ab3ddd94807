"""A member's board desk for each test, in JSON and in binary form."""

from collections.abc import AsyncGenerator

import pytest

from appliance.config.model import Settings
from tests.support.boards import BoardDesk, open_board_desk
from tests.support.control import control_stack


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["json", "proto"])
async def desk(
    request: pytest.FixtureRequest, engines: Settings, anyio_backend: str
) -> AsyncGenerator[BoardDesk]:
    async with control_stack(engines) as control:
        yield await open_board_desk(control, request.param)


@pytest.fixture
async def asking_desk(engines: Settings, anyio_backend: str) -> AsyncGenerator[BoardDesk]:
    """With an event store of its own, so that tiles have answers."""
    async with control_stack(engines, own_events=True) as control:
        yield await open_board_desk(control, "proto")
