"""One application for each test, on a database of its own."""

from collections.abc import AsyncGenerator

import pytest

from appliance.config.model import Settings
from tests.support.control import ControlStack, control_stack


@pytest.fixture
async def control(engines: Settings) -> AsyncGenerator[ControlStack]:
    """The real application; `control.call` is a generated client."""
    async with control_stack(engines) as stack:
        yield stack
