"""Organisations in integration tests: requests by name, waiting for a lock, links that open.

Invariant: `blocked_calls` starts really concurrent transactions: it returns when PostgreSQL itself
says that so many of them wait.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final

from appliance.domain.access.callers import Actor, ActorKind
from appliance.gen.dashboard.orgs.v1 import orgs_pb
from appliance.storage.postgres.pool import Transaction
from tests.support.control import ADDRESS, ControlStack, Person, Refusal

ORGS: Final = "dashboard.orgs.v1.OrgsService"
WAIT_SECONDS_MAX: Final = 10
POLL_SECONDS: Final = 0.01
_WAITING: Final = """
SELECT count(*) AS waiting FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
_HOLD: Final = "SELECT 1 FROM orgs WHERE id = $1 FOR UPDATE"


async def ask(
    control: ControlStack, who: Person, method: str, *, form: str = "proto", **fields: Any
):
    """Call a method of OrgsService; raises Refusal."""
    request = getattr(orgs_pb, f"{method}Request")(**fields)
    return await control.call(f"{ORGS}/{method}", request, token=who.token, form=form)


async def refused(
    control: ControlStack, who: Person, method: str, *, form: str = "proto", **fields: Any
) -> Refusal:
    """The refusal of a call that must be refused."""
    try:
        await ask(control, who, method, form=form, **fields)
    except Refusal as refusal:
        return refusal
    raise AssertionError(f"{method} was not refused")


async def outcome(call: Awaitable[object]) -> str:
    """`ok`, or the reason of a refusal."""
    try:
        await call
    except Refusal as refusal:
        return refusal.reason
    return "ok"


@asynccontextmanager
async def held_org(control: ControlStack, org_id: str) -> AsyncGenerator[Transaction]:
    """Hold an organisation's row, so that whoever changes memberships waits."""
    async with control.database.transaction() as transaction:
        await transaction.execute(_HOLD, org_id)
        yield transaction


async def until_waiting(control: ControlStack, count: int) -> None:
    """Return when so many transactions wait for a lock."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            row = await control.database.row(_WAITING)
            assert row is not None
            if row["waiting"] == count:
                return
            await asyncio.sleep(POLL_SECONDS)


async def at_once(control: ControlStack, org_id: str, *calls: Awaitable[object]) -> list[str]:
    """Outcomes of calls that all wait for the organisation before one may go on."""
    async with asyncio.TaskGroup() as group, held_org(control, org_id):
        tasks = [group.create_task(outcome(call)) for call in calls]
        await until_waiting(control, len(tasks))
    return [task.result() for task in tasks]


def acting(person: Person) -> Actor:
    """A person as the audit log names them."""
    return Actor(kind=ActorKind.CUSTOMER, id=person.id, label=person.email, address=ADDRESS)


async def roles(control: ControlStack, org_id: str) -> dict[str, str]:
    """Stored role by customer id."""
    rows = await control.database.rows(
        "SELECT customer_id, role FROM org_members WHERE org_id = $1", org_id
    )
    return {str(row["customer_id"]): str(row["role"]) for row in rows}


async def live_links(control: ControlStack, invitation_id: str) -> list[str]:
    """Hashes of the links that open an invitation."""
    rows = await control.database.rows(
        "SELECT token_hash FROM email_action_tokens"
        " WHERE invitation_id = $1 AND consume_time IS NULL",
        invitation_id,
    )
    return [str(row["token_hash"]) for row in rows]


def hash_of(token: str) -> str:
    """What a link's secret is found by."""
    return hashlib.sha256(token.encode()).hexdigest()
