"""Brings a queue back that met the end of the disk.

Invariant: a stream whose write failed refuses everything until the server starts again (measured on
2.15.1), so when its health check keeps failing although there is room again, the server is
restarted. Nothing acknowledged is lost by that: every acknowledged message was flushed.
"""

from typing import Final

from appliance.base.disk import free_bytes
from appliance.base.errors import ApplianceError
from appliance.engines.http_door import HTTP_OK, http_get
from appliance.engines.place import Place

LOOK_SECONDS: Final = 2.0
_MISSES_MAX: Final = 3
"""A server that has just started fails its health check while it loads its streams."""
_FREE_BYTES_MIN: Final = 32 << 20


class QueueWatch:
    """Looks at our own NATS server; nobody restarts one of somebody else."""

    def __init__(self, place: Place) -> None:
        self._port = place.ports.nats_monitor if place.settings.nats.url is None else 0
        self._folder = place.folders.nats
        self._misses = 0

    async def needs_restart(self) -> bool:
        """Whether the server has been unwell for a while although its disk has room."""
        if not self._port or free_bytes([self._folder]) < _FREE_BYTES_MIN:
            return False
        self._misses = 0 if await self._is_well() else self._misses + 1
        if self._misses < _MISSES_MAX:
            return False
        self._misses = 0
        return True

    async def _is_well(self) -> bool:
        try:
            answer = await http_get("127.0.0.1", self._port, "/healthz")
        except (ApplianceError, OSError, EOFError):
            return True  # it does not run at all, which is the supervisor's affair
        return answer.status == HTTP_OK
