"""Jobs that take away what nobody can use any more (decision 0021).

Invariant: nothing is purged while any answer of the contract still depends on it: an expired
invitation can be sent again, a consumed session token must be recognised when it is presented a
second time, a counted mail limits the next one. Every page is a fenced transaction of its own.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from appliance.domain.access.callers import Actor, ActorKind
from appliance.services.audit import AuditLog
from appliance.services.jobs.desk import PAGE_ROWS, Desk
from appliance.storage.clickhouse.retention import drop_project_rows
from appliance.storage.postgres.pool import Transaction
from appliance.storage.postgres.purge import (
    DeletedProject,
    Waste,
    delete_audit_entries,
    delete_project,
    delete_waste,
    list_deleted_projects,
    lock_deleted_project,
)

RESTORE_DAYS: Final = 30
"""How long a deleted project can be restored."""
KEPT_DAYS: Final[dict[Waste, int]] = {
    Waste.TOKENS: 7,
    Waste.SESSIONS: 7,
    Waste.INVITATIONS: 180,
    Waste.SENDS: 2,
    Waste.GUARDS: 7,
    Waste.RUNS: 400,
    Waste.KEYS: 0,
    Waste.FIRINGS: 90,
}
"""Days that each kind outlives its end: sent mails count for one day [services 3.7]."""
AUDIT_SECONDS_MIN: Final = 86400.0
PAGES_MAX: Final = 1000
PROJECTS_MAX: Final = 100
REST_SECONDS_MAX: Final = 7200
"""How long PostgreSQL waits while the event store deletes one project."""

Delete = Callable[[Transaction], Awaitable[int]]


async def purge_expired(desk: Desk) -> str:
    """Links, sessions, invitations, guards and records whose time is over."""
    now = desk.clock.now()
    counts: list[str] = []
    for waste, days in KEPT_DAYS.items():
        before = now - timedelta(days=days)

        async def page(
            transaction: Transaction, waste: Waste = waste, before: datetime = before
        ) -> int:
            return await delete_waste(transaction, waste, before=before, limit=PAGE_ROWS)

        count = await _in_pages(desk, page)
        if count:
            counts.append(f"{count} {waste}")
    return "purged " + ", ".join(counts) if counts else "nothing to purge"


async def purge_audit_log(desk: Desk) -> str:
    """Entries older than `audit.retention`."""
    before = desk.clock.now() - timedelta(seconds=max(desk.audit_seconds, AUDIT_SECONDS_MIN))

    async def page(transaction: Transaction) -> int:
        return await delete_audit_entries(transaction, before=before, limit=PAGE_ROWS)

    count = await _in_pages(desk, page)
    return f"purged {count} entries of before {before:%Y-%m-%d %H:%M}"


async def purge_projects(desk: Desk) -> str:
    """Projects deleted 30 days ago: their events first, then the project itself.

    A leader that dies between the two finds the project again.
    """
    before = desk.clock.now() - timedelta(days=RESTORE_DAYS)
    found = await list_deleted_projects(desk.stores.postgres, before=before, limit=PROJECTS_MAX)
    counts = [await _purge_project(desk, project, before) for project in found]
    return f"purged {sum(counts)} projects"


async def _purge_project(desk: Desk, project: DeletedProject, before: datetime) -> int:
    """One project; 0 when it was restored meanwhile, which waits while its events go."""
    log = AuditLog(desk.clock, desk.ids)
    await desk.lead.require()
    async with desk.stores.postgres.transaction() as transaction:
        if not await lock_deleted_project(
            transaction, project.id, before=before, rest_seconds_max=REST_SECONDS_MAX
        ):
            return 0
        await drop_project_rows(desk.stores.clickhouse, project.id)
        await desk.lead.bind(transaction)
        await delete_project(transaction, project.id)
        await log.record(
            transaction,
            Actor(kind=ActorKind.SYSTEM, label="scheduler"),
            "project.purge",
            org_id=project.org_id,
            project_id=project.id,
            subject_kind="project",
            subject_id=project.id,
            details={"display_name": project.display_name},
        )
    return 1


async def _in_pages(desk: Desk, delete: Delete) -> int:
    total = 0
    for _ in range(PAGES_MAX):
        async with desk.lead.fenced() as transaction:
            count = await delete(transaction)
        total += count
        if count < PAGE_ROWS:
            break
    return total
