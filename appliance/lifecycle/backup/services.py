"""Stopping and starting what uses the data, in both ways an appliance can run.

Invariant: between `stop` and `start` no process of the installation has its data open.
"""

from typing import Final, Protocol

from appliance.base.errors import ConflictError, UnavailableError
from appliance.config.model import Settings
from appliance.lifecycle.backup.hold import is_running
from appliance.lifecycle.host import Host

UNITS: Final = (
    "pug.target",
    # With its socket, which would start it again for the next connection.
    "pug-appliance.socket",
    "pug-appliance.service",
    "pug-bridge.service",
    "pug-nats.socket",
    "pug-nats.service",
    "pug-clickhouse.socket",
    "pug-clickhouse.service",
    "pug-postgres.service",
)
_ALIVE: Final = frozenset({"active", "activating", "deactivating", "reloading"})
_STOP_SECONDS_MAX: Final = 180.0
_START_SECONDS_MAX: Final = 900.0


class Services(Protocol):
    """What runs an installation."""

    async def check(self) -> None:
        """Refuse early what `stop` would refuse."""
        ...

    async def stop(self) -> None:
        """End everything that has the data open; raises ApplianceError when that cannot be."""
        ...

    async def start(self) -> None:
        """Start what was stopped."""
        ...


class OwnServices:
    """An appliance in somebody's terminal: only its owner ends it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def check(self) -> None:
        """Refuse while it runs; raises ConflictError."""
        await self.stop()

    async def stop(self) -> None:
        """Refuse while it runs; raises ConflictError."""
        if await is_running(self._settings):
            raise ConflictError(
                "ALREADY_RUNNING",
                f"the appliance runs on {self._settings.data_dir}",
                hint="stop it with `pug-appliance stop`, then restore",
            )

    async def start(self) -> None:
        """Nothing: its owner starts it."""


class BootServices:
    """An installed appliance that is about to be started: `pug-recover.service` runs before all."""

    async def check(self) -> None:
        """Nothing runs yet."""

    async def stop(self) -> None:
        """Nothing runs yet."""

    async def start(self) -> None:
        """Nothing: the boot goes on with it."""


class SystemdServices:
    """An installed appliance; its public port refuses until everything is started again."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def check(self) -> None:
        """Nothing: the units are ours."""

    async def stop(self) -> None:
        """Stop the units; raises UnavailableError."""
        # Not checked: a store that another machine runs has no unit here.
        await self._host.run(
            "systemctl", "stop", *UNITS, timeout_seconds=_STOP_SECONDS_MAX, check=False
        )
        left = await self._host.run("systemctl", "is-active", *UNITS, check=False)
        if any(line in _ALIVE for line in left.output.split()):
            raise UnavailableError(
                "UNITS_ACTIVE",
                "not all units of the appliance stopped",
                hint="see `systemctl status 'pug-*'`",
            )

    async def start(self) -> None:
        """Start everything; raises UnavailableError."""
        await self._host.run("systemctl", "start", "pug.target", timeout_seconds=_START_SECONDS_MAX)
