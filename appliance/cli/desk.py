"""How a command gets at the use-cases of the running appliance."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from appliance.config.model import Settings
from appliance.services.wiring import Services, build_services

Result = TypeVar("Result")


def at_desk(settings: Settings, work: Callable[[Services], Awaitable[Result]]) -> Result:
    """Run `work` with the use-cases; what it opened is closed afterwards."""

    async def run() -> Result:
        services = build_services(settings, name="pug-command-line")
        try:
            return await work(services)
        finally:
            await services.close()

    return asyncio.run(run())
