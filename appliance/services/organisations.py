"""Organisations: make one, name it, list those of a customer [services 6.2].

Invariant: an organisation appears with an administrator, a project and its public key, or not at
all. Who belongs to it is decided in `members.py`, who may come to belong in `invitations.py`.
"""

from typing import Final

from appliance.base.clock import Clock
from appliance.base.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    Resource,
)
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import Actor, ActorKind
from appliance.domain.access.roles import Role
from appliance.services.audit import AuditLog
from appliance.services.keys import make_key
from appliance.services.projects import DEFAULT_NAME, check_name
from appliance.storage.postgres.orgs import (
    CountedOrg,
    OrgRow,
    add_org,
    find_org_of,
    find_standing,
    join_org,
    list_all_orgs,
    list_orgs_of,
    lock_org,
    org_exists,
    rename_org,
)
from appliance.storage.postgres.pool import Postgres, Transaction
from appliance.storage.postgres.projects import KeyKind, add_key, add_project

_UTC: Final = ""


class OrganisationsService:
    """Use-cases about organisations."""

    def __init__(self, database: Postgres, *, clock: Clock, ids: IdMaker, audit: AuditLog) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._audit = audit

    async def list_of(self, customer_id: str) -> tuple[OrgRow, ...]:
        """The organisations of a customer with their role, oldest first."""
        return await list_orgs_of(self._database, customer_id)

    async def list_all(self) -> tuple[CountedOrg, ...]:
        """Every organisation, oldest first; for the operator."""
        return await list_all_orgs(self._database)

    async def load(self, org_id: str, customer_id: str) -> OrgRow:
        """An organisation of a customer; raises NotFoundError (`ORG_NOT_FOUND`)."""
        org = await find_org_of(self._database, org_id, customer_id)
        if org is None:
            raise org_not_found(org_id)
        return org

    async def require(self, org_id: str) -> None:
        """Return when there is such an organisation; raises NotFoundError (`ORG_NOT_FOUND`)."""
        if not await org_exists(self._database, org_id):
            raise org_not_found(org_id)

    async def create(self, actor: Actor, display_name: str) -> OrgRow:
        """Make an organisation with the acting customer as administrator and a first project.

        Raises ConflictError (`PROJECT_NAME_TAKEN`), InvalidInputError for a bad name.
        """
        name = check_name(display_name)
        async with self._database.transaction() as transaction:
            org_id, _ = await self.found(transaction, actor, display_name=name, admin_id=actor.id)
        return OrgRow(id=org_id, display_name=name, role=Role.ADMIN)

    async def found(
        self,
        transaction: Transaction,
        actor: Actor,
        *,
        display_name: str,
        admin_id: str,
        timezone: str = _UTC,
    ) -> tuple[str, str]:
        """Make an organisation, its administrator and a first project with a public key.

        `timezone` is as a project stores it: empty for UTC. Returns the ids of organisation and
        project. `display_name` is checked. Raises ConflictError as `create` does.
        """
        org_id, project_id, now = self._ids.make(), self._ids.make(), self._clock.now()
        await add_org(transaction, org_id=org_id, display_name=display_name, at=now)
        await join_org(transaction, org_id=org_id, customer_id=admin_id, role=Role.ADMIN, at=now)
        try:
            await add_project(
                transaction,
                project_id=project_id,
                org_id=org_id,
                display_name=DEFAULT_NAME,
                timezone=timezone,
            )
        except ConflictError as error:
            raise ConflictError(
                "PROJECT_NAME_TAKEN", "the organisation has a project of this name already"
            ) from error
        key = make_key(self._ids, KeyKind.PUBLIC, "")
        await add_key(transaction, project_id=project_id, key=key.fresh)
        await self._audit.record(
            transaction,
            actor,
            "org.create",
            org_id=org_id,
            project_id=project_id,
            subject_kind="org",
            subject_id=org_id,
            details={"display_name": display_name},
        )
        return org_id, project_id

    async def rename(self, actor: Actor, org_id: str, display_name: str) -> OrgRow:
        """Name an organisation anew; raises NotFoundError (`ORG_NOT_FOUND`)."""
        name = check_name(display_name)
        async with self._database.transaction() as transaction:
            before = await lock_org(transaction, org_id)
            if before is None:
                raise org_not_found(org_id)
            await require_admin(transaction, actor, org_id)
            await rename_org(transaction, org_id, name)
            await self._audit.record(
                transaction,
                actor,
                "org.rename",
                org_id=org_id,
                subject_kind="org",
                subject_id=org_id,
                details={"before": before, "after": name},
            )
        return OrgRow(id=org_id, display_name=name, role=Role.ADMIN)


async def require_admin(transaction: Transaction, actor: Actor, org_id: str) -> None:
    """Return when the actor administers a locked organisation still, or is the operator.

    The guard in front of the handler asked before the lock; whoever was removed or demoted while
    waiting for it is refused here, with the same words. Raises ForbiddenError.
    """
    if actor.kind is not ActorKind.CUSTOMER:
        return
    standing = await find_standing(transaction, org_id, actor.id)
    if standing is None:
        raise ForbiddenError("ORG_NOT_A_MEMBER", "you are not a member of this organisation")
    if standing.role is not Role.ADMIN:
        raise ForbiddenError(
            "ORG_ROLE_FORBIDDEN", "your role in this organisation does not allow this"
        )


def org_not_found(org_id: str) -> NotFoundError:
    """The error for an organisation that does not exist."""
    return NotFoundError(
        "ORG_NOT_FOUND",
        "there is no such organisation",
        hint="see `pug-appliance org list`",
        resource=Resource(kind="org", name=org_id),
    )
