"""Giving a project a rate and a monthly number of events.

Invariant: what is set here is known to every API process within `EXCHANGE_SECONDS` of traffic
(`allowances.py`), and stands in the audit log.
"""

from typing import Final

from appliance.base.clock import Clock
from appliance.base.errors import InvalidInputError
from appliance.domain.access.callers import OPERATOR, Actor
from appliance.domain.ingest.allowance import ProjectLimits, month_of
from appliance.services.audit import AuditLog
from appliance.services.projects import project_not_found
from appliance.services.stores import Stores
from appliance.storage.postgres.limits import (
    ProjectUse,
    list_uses,
    load_limits,
    save_limits,
)
from appliance.storage.postgres.project_admin import PROJECTS_LISTED_MAX, lock_project

EVENTS_MAX: Final = 1_000_000_000_000
"""More than anybody sends; a larger number is a slip."""


class LimitsService:
    """Use-cases about the limits of projects."""

    def __init__(self, stores: Stores, audit: AuditLog, clock: Clock) -> None:
        self._database = stores.postgres
        self._audit = audit
        self._clock = clock

    async def list_uses(self, project_id: str | None = None) -> tuple[ProjectUse, ...]:
        """The limits of every living project, or of one, and what it sent this month.

        Raises NotFoundError (`PROJECT_NOT_FOUND`).
        """
        found = await list_uses(
            self._database,
            month_of(self._clock.now()),
            project_id=project_id,
            limit=PROJECTS_LISTED_MAX,
        )
        if project_id is not None and not found:
            raise project_not_found(project_id)
        return found

    async def change(
        self,
        project_id: str,
        *,
        events_per_second: int | None,
        events_per_month: int | None,
        actor: Actor = OPERATOR,
    ) -> ProjectLimits:
        """Set limits of a project: 0 takes one away, None leaves it; all that hold then.

        Raises NotFoundError (`PROJECT_NOT_FOUND`), InvalidInputError (`INVALID_LIMIT`).
        """
        for number in (events_per_second, events_per_month):
            if number is not None and not 0 <= number <= EVENTS_MAX:
                raise InvalidInputError("INVALID_LIMIT", f"a limit is at most {EVENTS_MAX} events")
        async with self._database.transaction() as transaction:
            project = await lock_project(transaction, project_id)
            if project is None:
                raise project_not_found(project_id)
            before = await load_limits(transaction, project_id)
            after = ProjectLimits(
                events_per_second=_changed(before.events_per_second, events_per_second),
                events_per_month=_changed(before.events_per_month, events_per_month),
            )
            await save_limits(transaction, project_id, after, self._clock.now())
            await self._audit.record(
                transaction,
                actor,
                "project.limits.update",
                org_id=project.org_id,
                project_id=project.id,
                subject_kind="project",
                subject_id=project.id,
                details={
                    "per_second": _told(after.events_per_second),
                    "per_second_before": _told(before.events_per_second),
                    "per_month": _told(after.events_per_month),
                    "per_month_before": _told(before.events_per_month),
                },
            )
        return after


def _changed(before: int | None, wanted: int | None) -> int | None:
    return before if wanted is None else wanted or None


def _told(number: int | None) -> str:
    return "none" if number is None else str(number)
