"""One leader at a time: a lease that is renewed, and the fence around what a leader does.

Invariant: a leader acts in PostgreSQL only inside `fenced`, which nobody can take the lease over
from under; before each step anywhere else it asks `require`. It trusts its own lease no longer than
the time it was given for, measured without the wall clock, so a leader that was asleep steps down
before it asks anybody.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.storage.postgres.jobs import (
    LeaseRow,
    lease_lost,
    look_at_lease,
    release_lease,
    renew_lease,
    require_lease,
    take_lease,
)
from appliance.storage.postgres.pool import Postgres, Transaction

LEASE_NAME: Final = "scheduler"


class LeaseTiming(Struct, frozen=True, kw_only=True):
    """How long a lease lasts, how often it is renewed, how often others look whether it is free."""

    lease_seconds: float = 20.0
    renew_seconds: float = 5.0
    look_seconds: float = 2.0


class Leadership:
    """What one process knows of its own lease."""

    def __init__(
        self,
        database: Postgres,
        clock: Clock,
        *,
        holder: str,
        timing: LeaseTiming | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._lease: LeaseRow | None = None
        self._trusted_until = 0.0
        self.holder = holder
        self.timing = timing or LeaseTiming()

    @property
    def leads(self) -> bool:
        """Whether this process may still believe that it leads."""
        return self._lease is not None and self._clock.monotonic_seconds() < self._trusted_until

    async def take(self) -> bool:
        """Try to lead; False while somebody else does."""
        found = await look_at_lease(self._database, LEASE_NAME)
        now = self._clock.now()
        if found is not None and now < found.expires_at <= now + self._length:
            return False
        asked = self._clock.monotonic_seconds()
        lease = await take_lease(
            self._database, LEASE_NAME, holder=self.holder, now=now, until=now + self._length
        )
        if lease is None:
            return False
        self._lease = lease
        self._trusted_until = asked + self.timing.lease_seconds
        return True

    async def renew(self) -> None:
        """Lead for longer; raises ConflictError `LEASE_LOST` when it is too late."""
        lease = self._lease
        if lease is None or not self.leads:
            raise lease_lost()
        asked = self._clock.monotonic_seconds()
        until = self._clock.now() + self._length
        if not await renew_lease(self._database, LEASE_NAME, lease, until=until):
            self._lease = None
            raise lease_lost()
        self._trusted_until = asked + self.timing.lease_seconds

    async def require(self) -> None:
        """Return when this process leads; for steps that PostgreSQL cannot undo."""
        async with self.fenced():
            pass

    @asynccontextmanager
    async def fenced(self) -> AsyncGenerator[Transaction]:
        """A transaction during which nobody else can become the leader.

        Raises ConflictError `LEASE_LOST` when somebody else already is.
        """
        async with self._database.transaction() as transaction:
            await self.bind(transaction)
            yield transaction

    async def bind(self, transaction: Transaction) -> None:
        """Fence what is left of a transaction; raises ConflictError `LEASE_LOST`."""
        lease = self._lease
        if lease is None or not self.leads:
            raise lease_lost()
        await require_lease(
            transaction, LEASE_NAME, lease, idle_seconds_max=self.timing.lease_seconds
        )

    async def release(self) -> None:
        """Let somebody else lead at once."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await release_lease(self._database, LEASE_NAME, lease, now=self._clock.now())

    def step_down(self) -> None:
        """Stop believing that this process leads."""
        self._lease = None

    @property
    def _length(self) -> timedelta:
        return timedelta(seconds=self.timing.lease_seconds)
