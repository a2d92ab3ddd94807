"""When keys were last used, told to the database at most once a minute.

Invariant: a request costs one entry in memory, never a write. What is remembered is bounded, is
written in one statement however many keys it concerns, and is written once more at closing; what a
database that does not answer refused is told again with the next. A process that is killed forgets
at most one minute, which is why the time is called "about" in the manual.
"""

import asyncio
from datetime import datetime
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError
from appliance.storage.postgres.api_keys import save_last_uses
from appliance.storage.postgres.pool import Postgres

FLUSH_SECONDS: Final = 60.0
KEYS_REMEMBERED_MAX: Final = 10_000
CLOSE_SECONDS_MAX: Final = 3.0

_LOG: Final = structlog.stdlib.get_logger()


class KeyUse:
    """Collects the uses of keys in this process; close it before the database."""

    def __init__(
        self, database: Postgres, clock: Clock, *, flush_seconds: float = FLUSH_SECONDS
    ) -> None:
        self._database = database
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._used_at: dict[str, datetime] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Future[None] | None = None

    def note(self, key_id: str) -> None:
        """Remember that a key was used just now."""
        if key_id not in self._used_at and len(self._used_at) >= KEYS_REMEMBERED_MAX:
            return
        self._used_at[key_id] = self._clock.now()
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._flush_seconds, self._due)

    async def close(self) -> None:
        """Tell the database what it does not know yet."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                if self._flushing is not None:
                    await self._flushing
                await self._flush()
        except TimeoutError:
            _LOG.warning("key_uses_not_saved", keys=len(self._used_at), reason="TIMEOUT")

    def _due(self) -> None:
        self._timer = None
        self._flushing = asyncio.ensure_future(self._flush())

    async def _flush(self) -> None:
        told, self._used_at = self._used_at, {}
        if not told:
            return
        try:
            await save_last_uses(self._database, told)
        except ApplianceError as error:
            _LOG.warning("key_uses_not_saved", keys=len(told), reason=error.reason)
            both = told | self._used_at
            self._used_at = dict(list(both.items())[-KEYS_REMEMBERED_MAX:])
