"""Whether a release really works: every component of it runs, the stores answer, events get in.

Invariant: nothing is written and nothing stays behind; the questions are those clients ask. Bounded
in time, and over at once when a component has died several times. Decision 0014.
"""

import asyncio
from contextlib import suppress
from typing import Final, Protocol

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, TimedOutError, UnavailableError
from appliance.config.model import Settings
from appliance.config.tls import find_tls
from appliance.engines.http_door import HTTP_OK, http_get
from appliance.lifecycle.services import local_address
from appliance.supervisor.component import ComponentStatus
from appliance.supervisor.control import Command, Request, ask_supervisor

READY_SECONDS_MAX: Final = 60.0
STEADY_SECONDS: Final = 0.5
"""A component that dies right after it said ready is seen."""
_DEATHS_MAX: Final = 2
_PAUSE_SECONDS: Final = 0.05
_ASK_SECONDS_MAX: Final = 5.0


class Gate(Protocol):
    """Who decides whether a release works."""

    async def check(self, version: str) -> None:
        """Return when the release in charge is this one and works; raises ApplianceError."""
        ...


class HealthGate:
    """Asks the supervisor, the stores behind the public port, and the way of an event."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def check(self, version: str) -> None:
        """Wait until a release answers for everything.

        Raises UnavailableError naming the component that keeps dying, or TimedOutError.
        """
        end = self._clock.monotonic_seconds() + READY_SECONDS_MAX
        missing = await self._missing(version)
        while missing:
            if self._clock.monotonic_seconds() > end:
                raise TimedOutError(
                    "RELEASE_NOT_READY",
                    f"release {version} is not ready after {READY_SECONDS_MAX:.0f} s: {missing}",
                    hint="see `journalctl -u pug-appliance.service`",
                )
            await asyncio.sleep(_PAUSE_SECONDS)
            missing = await self._missing(version)
        await asyncio.sleep(STEADY_SECONDS)
        missing = await self._missing(version)
        if missing:
            raise UnavailableError("RELEASE_UNSTEADY", f"release {version}: {missing}")

    async def _missing(self, version: str) -> str:
        """What is not as it should be; empty when everything is."""
        components = await self._components()
        if not components:
            return "its supervisor does not answer"
        ours = [one for one in components if one.version == version]
        if not ours:
            return "another release is still running"
        for one in components:
            if one.restarts >= _DEATHS_MAX and not one.ready:
                raise UnavailableError(
                    "RELEASE_BROKEN",
                    f"{one.name} of release {version} died {one.restarts} times: {one.cause}",
                    hint="see `journalctl -u pug-appliance.service`",
                )
        waiting = [one.name for one in components if not one.ready]
        if waiting:
            return f"{', '.join(waiting)} not ready"
        return await self._unanswered()

    async def _components(self) -> tuple[ComponentStatus, ...]:
        with suppress(ApplianceError, OSError):
            path = self._settings.folders.control_socket
            request = Request(command=Command.STATUS)
            return (await asyncio.to_thread(ask_supervisor, path, request)).components
        return ()

    async def _unanswered(self) -> str:
        """Ask as a client does, through the public port."""
        host, port = local_address(self._settings)
        secure = find_tls(self._settings) is not None
        try:
            async with asyncio.timeout(_ASK_SECONDS_MAX):
                answer = await http_get(host, port, "/readyz", secure=secure, verify=False)
        except (ApplianceError, OSError, EOFError, TimeoutError) as error:
            return f"the public port does not answer ({type(error).__name__})"
        return "" if answer.status == HTTP_OK else f"/readyz is answered with {answer.status}"
