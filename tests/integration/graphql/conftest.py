"""The application with its graph, on stores of its own, and a client that asks it."""

from collections.abc import AsyncGenerator

import pytest

from appliance.config.model import ApiSettings, Settings
from tests.support.control import control_stack
from tests.support.graph import Graph, open_graph


@pytest.fixture(scope="module")
async def graph(engines: Settings, anyio_backend: str) -> AsyncGenerator[Graph]:
    settings = Settings(data_dir=engines.data_dir, api=ApiSettings(development=False))
    async with (
        control_stack(engines, settings, own_events=True) as control,
        open_graph(control, settings) as found,
    ):
        yield found
