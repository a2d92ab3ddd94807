"""The event store of the insights' tests, and boards beside cohorts."""

from collections.abc import AsyncGenerator

import pytest

from appliance.config.model import Settings
from tests.integration.insights.conftest import endpoint, event_store
from tests.support.boards import BoardDesk, open_board_desk
from tests.support.control import control_stack

__all__ = ["endpoint", "event_store"]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def desk(engines: Settings, anyio_backend: str) -> AsyncGenerator[BoardDesk]:
    """With an event store of its own, so that questions have answers."""
    async with control_stack(engines, own_events=True) as control:
        yield await open_board_desk(control, "proto")
