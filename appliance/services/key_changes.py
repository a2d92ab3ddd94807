"""Noticing that something about keys has changed, although nobody told us.

Invariant: no answer from memory is older than `LOOK_SECONDS` plus the time of one look, as long as
the database answers within `LOOK_SECONDS_MAX`: together less than a second. A look is one row, is
made only while keys are presented, and once however many requests wait for it. A database that does
not answer leaves the memory as it is, and while it has just not answered nobody waits for it: then
only announcements end keys.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError
from appliance.storage.postgres.api_keys import load_key_version
from appliance.storage.postgres.pool import Postgres

LOOK_SECONDS: Final = 0.5
"""How long what is remembered is believed without looking whether something has changed."""
LOOK_SECONDS_MAX: Final = 0.4
"""How long requests wait for a look."""
_LET_GO_SECONDS_MAX: Final = 0.05
BLIND_SECONDS: Final = 2.0
"""How long after a look that failed nobody waits for the next one."""

_LOG: Final = structlog.stdlib.get_logger()


class KeyChanges:
    """Calls `changed` before `look` returns when keys may have changed since the last look."""

    def __init__(self, database: Postgres, clock: Clock, changed: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._changed = changed
        self._version: int | None = None
        self._looked_at = -math.inf
        self._looking: asyncio.Task[None] | None = None
        self._failed_at: float | None = None

    @property
    def blind(self) -> bool:
        """Whether the last look failed, just now."""
        now = self._clock.monotonic_seconds()
        return self._failed_at is not None and now - self._failed_at < BLIND_SECONDS

    async def look(self) -> None:
        """Return when what is remembered is fresh enough, or cannot be made fresher."""
        if self._clock.monotonic_seconds() - self._looked_at < LOOK_SECONDS:
            return
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look())
            self._looking.add_done_callback(self._looked)
        if not self.blind:
            await self._wait(self._looking)

    async def close(self) -> None:
        """End a look that is under way."""
        looking = self._looking
        if looking is not None:
            await self._wait(looking)
            looking.cancel()

    async def _wait(self, looking: asyncio.Task[None]) -> None:
        """Wait for a look, but not for a connection that hangs while it is let go."""
        done, _ = await asyncio.wait({looking}, timeout=LOOK_SECONDS_MAX + _LET_GO_SECONDS_MAX)
        if not done:
            self._failed_at = self._clock.monotonic_seconds()

    def _looked(self, _task: asyncio.Task[None]) -> None:
        self._looking = None

    async def _look(self) -> None:
        began_at = self._clock.monotonic_seconds()
        try:
            async with asyncio.timeout(LOOK_SECONDS_MAX):
                version = await load_key_version(self._database)
        except (ApplianceError, TimeoutError) as error:
            if self._failed_at is None:
                _LOG.warning("key_changes_unseen", cause=type(error).__name__)
            self._failed_at = self._clock.monotonic_seconds()
        else:
            self._failed_at = None
            if version != self._version:
                self._version = version
                self._changed()
        self._looked_at = began_at
