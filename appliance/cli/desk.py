"""How a command gets at the use-cases of the running appliance."""

import asyncio
import logging
import os
import pwd
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from appliance.base.log import configure_logging
from appliance.config.model import Settings
from appliance.domain.access.callers import Actor, ActorKind
from appliance.services.wiring import Services, build_services

Result = TypeVar("Result")


def at_desk(settings: Settings, work: Callable[[Services], Awaitable[Result]]) -> Result:
    """Run `work` with the use-cases; what it opened is closed afterwards."""

    async def run() -> Result:
        # Standard output is the answer, which `--json` promises to be nothing else.
        before = structlog.get_config()
        configure_logging(component="command-line", readable=True, level=logging.WARNING)
        try:
            services = build_services(settings, name="pug-command-line")
            try:
                return await work(services)
            finally:
                await services.close()
        finally:
            structlog.configure(**before)

    return asyncio.run(run())


def operator() -> Actor:
    """Who types: the account of the operating system, for the audit log."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = f"uid {number}"
    return Actor(kind=ActorKind.OPERATOR, label=name)
