"""Engines of our own for the length of a block, on free ports, in whatever data directory.

Invariant: they are started by the same code as in production and are gone when the block ends.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from appliance.config.effective import save_effective
from appliance.config.endpoints import save_ports
from appliance.config.model import (
    ApiSettings,
    ClickHouseSettings,
    NatsSettings,
    PostgresSettings,
    Settings,
)
from appliance.engines.installation import open_installation
from appliance.engines.place import choose_place
from appliance.supervisor.tree import Supervisor
from appliance.topology import ENGINES, child_settings, choose_ports, engine_specs

_START_FAILURES_MAX: Final = 3


def scratch_settings(settings: Settings, folder: Path) -> Settings:
    """The settings of an installation in `folder` that gets in nobody's way."""
    return Settings(
        data_dir=folder,
        api=ApiSettings(port=0),
        postgres=PostgresSettings(
            port=0, database=settings.postgres.database, user=settings.postgres.user
        ),
        nats=NatsSettings(port=0, monitor_port=0),
        clickhouse=ClickHouseSettings(
            port=0, database=settings.clickhouse.database, user=settings.clickhouse.user
        ),
    )


@asynccontextmanager
async def engines_running(
    settings: Settings, *, inherited: Mapping[str, str], names: tuple[str, ...] = ENGINES
) -> AsyncGenerator[None]:
    """Run engines in the data directory of these settings, under its lock.

    Raises ConflictError when somebody else runs there, ApplianceError when one does not start.
    """
    async with open_installation(settings) as installation:
        place = choose_place(settings, choose_ports(settings, api=0))
        save_ports(settings, place.ports)
        environment = child_settings(settings, save_effective(settings))
        supervisor = Supervisor(
            engine_specs(place, environment=environment, names=names),
            installation.surroundings(inherited=inherited, start_failures_max=_START_FAILURES_MAX),
        )
        try:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(supervisor.run())
                ready = group.create_task(supervisor.all_ready())
                await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
                try:
                    if running.done():
                        await running
                    yield
                finally:
                    ready.cancel()
                    supervisor.stop()
                    await running
        except BaseExceptionGroup as failures:
            # One cause, as it is: the group is how we run, not what went wrong.
            raise failures.exceptions[0] from failures


def needs_own(settings: Settings) -> tuple[str, ...]:
    """The engines that are ours and not somebody else's."""
    urls = {
        "postgres": settings.postgres.url,
        "nats": settings.nats.url,
        "clickhouse": settings.clickhouse.url,
    }
    return tuple(name for name in ENGINES if urls[name] is None)


def replaced(settings: Settings, folder: Path) -> Settings:
    """The same settings for another data directory."""
    return msgspec.structs.replace(settings, data_dir=folder)
