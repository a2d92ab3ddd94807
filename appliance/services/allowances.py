"""Whether a project may send more, without asking the database for each request.

Invariant: a request costs a look into memory. Every `EXCHANGE_SECONDS` in which something is sent,
one transaction tells the database what was accepted and learns every limit and the month's count,
those of other processes included; a database that does not answer leaves everything as it was. A
process that is killed forgets the counts of at most that time. Rates are those of one process.
"""

import asyncio
from collections import Counter
from datetime import date
from math import inf
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, ExhaustedError, Quota
from appliance.base.tasks import Background
from appliance.domain.ingest.allowance import Bucket, month_of, seconds_to_next_month
from appliance.storage.postgres.limits import LimitedProject, exchange
from appliance.storage.postgres.pool import Postgres

EXCHANGE_SECONDS: Final = 2.0
"""How soon a limit that was set elsewhere is known here."""
EXCHANGE_SECONDS_MAX: Final = 3.0
CLOSE_SECONDS_MAX: Final = 3.0
RETRY_SECONDS_MAX: Final = 3600.0
"""Whoever has used a month up asks again every hour: the operator may have given more."""

_LOG: Final = structlog.stdlib.get_logger()


class Allowances:
    """The limits of every project; one of them a process. Close it before the database."""

    def __init__(self, database: Postgres, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._limited: dict[str, LimitedProject] = {}
        self._buckets: dict[str, Bucket] = {}
        self._accepted: Counter[tuple[str, date]] = Counter()
        self._telling: Counter[tuple[str, date]] = Counter()
        self._exchanged_at = -inf
        self._blind = False
        self._background = Background(tasks_max=1)

    async def open(self) -> None:
        """Learn the limits, if the database answers by now."""
        await self._exchange()

    async def settle(self) -> None:
        """Wait for an exchange that is under way."""
        await self._background.settle()

    async def close(self) -> None:
        """Tell the database what it does not know yet."""
        await self._background.close(timeout_seconds=CLOSE_SECONDS_MAX)
        if self._accepted:
            await self._exchange()

    def require(self, project_id: str) -> None:
        """Return when a project may send something; raises ExhaustedError when it may not."""
        now = self._clock.monotonic_seconds()
        if now - self._exchanged_at >= EXCHANGE_SECONDS:
            self._exchanged_at = now
            self._background.start(self._exchange)
        limits = self._limited.get(project_id)
        if limits is None:
            return
        bucket = self._buckets.get(project_id)
        wait = bucket.wait_seconds(now) if bucket is not None else 0.0
        if wait:
            assert limits.events_per_second is not None
            raise _too_fast(project_id, limits.events_per_second, wait)
        if limits.events_per_month is not None and self._used(limits) >= limits.events_per_month:
            left = seconds_to_next_month(self._clock.now())
            raise _used_up(project_id, limits.events_per_month, left)

    def charge(self, project_id: str, events: int) -> None:
        """Take events off the project's rate; raises ExhaustedError when nothing is left of it."""
        self.require(project_id)
        bucket = self._buckets.get(project_id)
        if bucket is not None:
            bucket.take(events, self._clock.monotonic_seconds())

    def note(self, project_id: str, events: int) -> None:
        """Count events that were accepted for the first time."""
        self._accepted[project_id, month_of(self._clock.now())] += events

    def _used(self, limits: LimitedProject) -> int:
        key = (limits.project_id, month_of(self._clock.now()))
        return limits.events + self._accepted[key] + self._telling[key]

    async def _exchange(self) -> None:
        self._exchanged_at = self._clock.monotonic_seconds()
        self._telling, self._accepted = self._accepted, Counter()
        month = month_of(self._clock.now())
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS_MAX):
                found = await exchange(self._database, self._telling, month)
        except (ApplianceError, TimeoutError) as error:
            self._accepted += self._telling
            self._telling = Counter()
            if not self._blind:
                _LOG.warning("limits_unseen", cause=type(error).__name__)
            self._blind = True
            return
        self._blind = False
        self._telling = Counter()
        self._limited = {one.project_id: one for one in found}
        self._fit_buckets()

    def _fit_buckets(self) -> None:
        """A bucket for every rate; one whose rate is what it was keeps what is left."""
        now = self._clock.monotonic_seconds()
        fitting: dict[str, Bucket] = {}
        for project_id, limits in self._limited.items():
            rate = limits.events_per_second
            if rate is None:
                continue
            known = self._buckets.get(project_id)
            same = known is not None and known.events_per_second == rate
            fitting[project_id] = known if known is not None and same else Bucket(rate, now)
        self._buckets = fitting


def _too_fast(project_id: str, rate: int, wait: float) -> ExhaustedError:
    return ExhaustedError(
        "RATE_LIMITED",
        f"this project may send {rate} events a second; send the same again later",
        hint="see `pug-appliance project limits`",
        quota=Quota(subject=f"project:{project_id}", description=f"{rate} events a second"),
        retry_seconds=wait,
    )


def _used_up(project_id: str, number: int, left: float) -> ExhaustedError:
    return ExhaustedError(
        "QUOTA_EXCEEDED",
        f"this project may send {number} events a month, and has",
        hint="see `pug-appliance project limits`",
        quota=Quota(subject=f"project:{project_id}", description=f"{number} events a month"),
        retry_seconds=min(left, RETRY_SECONDS_MAX),
    )
