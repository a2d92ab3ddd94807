"""Subscriptions to the weekly report of a project; who sends it: `services/jobs/reports.py`."""

from typing import Final

from appliance.base.clock import Clock
from appliance.base.errors import NotFoundError, Resource
from appliance.domain.access.callers import Actor
from appliance.services.audit import AuditLog
from appliance.storage.postgres.pool import Postgres, Transaction
from appliance.storage.postgres.reports import (
    Subscribable,
    Subscription,
    add_subscription,
    drop_subscription,
    find_subscribable,
    list_subscriptions,
)

LISTED_MAX: Final = 1000


class SubscriptionsService:
    """Use-cases about subscriptions."""

    def __init__(self, database: Postgres, log: AuditLog, clock: Clock) -> None:
        self._database = database
        self._log = log
        self._clock = clock

    async def subscribe(self, actor: Actor, *, project_id: str, email: str) -> bool:
        """Subscribe a member of the project's organisation; False when it was so already.

        Raises NotFoundError when there is no such project or no member of this address.
        """
        async with self._database.transaction() as transaction:
            found = await _find(transaction, project_id, email)
            fresh = await add_subscription(
                transaction,
                project_id=found.project_id,
                customer_id=found.customer_id,
                at=self._clock.now(),
            )
            if fresh:
                await self._record(transaction, actor, "report.subscribe", found)
        return fresh

    async def unsubscribe(self, actor: Actor, *, project_id: str, email: str) -> bool:
        """End a subscription; False when there was none. Raises NotFoundError as above."""
        async with self._database.transaction() as transaction:
            found = await _find(transaction, project_id, email)
            ended = await drop_subscription(
                transaction, project_id=found.project_id, customer_id=found.customer_id
            )
            if ended:
                await self._record(transaction, actor, "report.unsubscribe", found)
        return ended

    async def list_subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions that count, at most a thousand."""
        return await list_subscriptions(self._database, after=("", ""), limit=LISTED_MAX)

    async def _record(
        self, transaction: Transaction, actor: Actor, action: str, found: Subscribable
    ) -> None:
        await self._log.record(
            transaction,
            actor,
            action,
            org_id=found.org_id,
            project_id=found.project_id,
            subject_kind="customer",
            subject_id=found.customer_id,
        )


async def _find(transaction: Transaction, project_id: str, email: str) -> Subscribable:
    found = await find_subscribable(transaction, project_id=project_id, email=email)
    if found is None:
        raise NotFoundError(
            "ORG_MEMBER_NOT_FOUND",
            "there is no such project, or nobody of this address in its organisation",
            hint="see `pug-appliance project list` and `pug-appliance user list`",
            resource=Resource(kind="project", name=project_id),
        )
    return found
