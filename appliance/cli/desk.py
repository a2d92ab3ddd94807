"""How a command gets at the use-cases of the running appliance."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.services.desk import Desk, open_desk

Result = TypeVar("Result")


def at_desk(settings: Settings, work: Callable[[Desk], Awaitable[Result]]) -> Result:
    """Run `work` with the use-cases opened for it."""

    async def run() -> Result:
        async with open_desk(resolve_endpoints(settings)) as desk:
            return await work(desk)

    return asyncio.run(run())
