"""What a job is, and what it works with.

Invariant: a job may run twice for one due time (its leader may be killed at any moment), so doing
it again is harmless; it says in one line what it did. Whatever it changes in PostgreSQL it changes
inside `lead.fenced()`, and it asks `lead.require()` before each step elsewhere.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.ids import IdMaker
from appliance.domain.mail.letters import Letter
from appliance.domain.schedule import Schedule
from appliance.services.alerts.measuring import Insights
from appliance.services.jobs.leadership import Leadership
from appliance.services.stores import Stores

PAGE_ROWS: Final = 1000
"""Rows that one transaction of a purge takes away."""


class Mailer(Protocol):
    """Sends mails of the appliance itself."""

    async def is_ready(self) -> bool:
        """Whether there is a provider at all."""
        ...

    async def send(self, address: str, letter: Letter, *, dispatch_id: str) -> None:
        """Hand a mail over to the provider; the same id twice is one mail [workers 4.2]."""
        ...


class NoMailer:
    """An installation without a provider."""

    async def is_ready(self) -> bool:
        return False

    async def send(self, address: str, letter: Letter, *, dispatch_id: str) -> None:
        del address, letter
        raise AssertionError(f"there is no provider for {dispatch_id}")


class Reminder(Struct, frozen=True, kw_only=True):
    """Something of the installation that its operator must look after; `check` names it."""

    check: str
    cause: str
    remedy: str


class Meter(Protocol):
    """Counts what each project used."""

    async def __call__(self) -> int: ...


Quiet = Callable[[], AbstractAsyncContextManager[object]]
"""A block during which nobody inserts events."""
LookAround = Callable[[], Awaitable[Sequence[Reminder]]]


class Desk(Struct, frozen=True, kw_only=True):
    """Everything that jobs use."""

    lead: Leadership
    stores: Stores
    clock: Clock
    ids: IdMaker
    mailer: Mailer
    quiet: Quiet
    look_around: LookAround
    meter: Meter | None
    audit_seconds: float
    dashboard_url: str = ""
    insights: Insights | None = None


class Job(Struct, frozen=True, kw_only=True):
    """A job: when it is due, how long it may take, what it does.

    One that `ages_away` takes away what is old by the clock, for good.
    """

    name: str
    purpose: str
    schedule: Schedule
    seconds_max: float
    work: Callable[[Desk], Awaitable[str]]
    ages_away: bool = False
