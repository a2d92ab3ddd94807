"""One application with an event store of its own for each test, and a project to read."""

from collections.abc import AsyncGenerator

import pytest

from appliance.config.model import Settings
from tests.support.control import control_stack
from tests.support.people import PeopleWorld, make_people_world


@pytest.fixture
async def world(engines: Settings) -> AsyncGenerator[PeopleWorld]:
    """A project whose events and people are written where the workers write them."""
    async with control_stack(engines, own_events=True) as control:
        yield await make_people_world(control)


@pytest.fixture(params=["json", "proto"])
def form(request: pytest.FixtureRequest) -> str:
    """How the generated client speaks."""
    return str(request.param)
