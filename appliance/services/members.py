"""Members of organisations: list them, change roles, let them go [services 6.2].

Invariant: every change happens under the organisation's lock and is decided after it is held, so
an organisation keeps an administrator who can sign in, however many requests arrive at once
(decision 0018).
"""

from typing import Final

from appliance.base.errors import InvalidInputError, NotFoundError, Resource, UnmetError
from appliance.domain.access.callers import Actor
from appliance.domain.access.memberships import (
    Blocked,
    leave_blocked,
    removal_blocked,
    role_blocked,
)
from appliance.domain.access.roles import Role
from appliance.services.audit import AuditLog
from appliance.services.organisations import require_admin
from appliance.storage.postgres.orgs import (
    MemberRow,
    find_member,
    find_standing,
    list_members,
    lock_org,
    remove_member,
    set_role,
)
from appliance.storage.postgres.pool import Postgres, Transaction

_SENTENCES: Final[dict[Blocked, str]] = {
    Blocked.LAST_ADMIN_LEAVES: "an organisation keeps at least one administrator",
    Blocked.LAST_ADMIN_DEMOTED: "the last administrator keeps this role",
    Blocked.LAST_MEMBER_LEAVES: "the last member cannot leave",
}
_NO_SUCH_MEMBER: Final = "there is no such member in this organisation"


class MembersService:
    """Use-cases about memberships."""

    def __init__(self, database: Postgres, *, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    async def list_members(self, org_id: str) -> tuple[MemberRow, ...]:
        """The members of an organisation in the order they joined."""
        return await list_members(self._database, org_id)

    async def leave(self, actor: Actor, org_id: str) -> None:
        """Let the acting customer go.

        Raises NotFoundError (`ORG_MEMBER_NOT_FOUND`), UnmetError (`CANNOT_REMOVE_LAST_ADMIN`,
        `CANNOT_LEAVE_AS_LAST_MEMBER`).
        """
        async with self._database.transaction() as transaction:
            await lock_org(transaction, org_id)
            standing = await find_standing(transaction, org_id, actor.id)
            if standing is None:
                raise NotFoundError("ORG_MEMBER_NOT_FOUND", _NO_SUCH_MEMBER)
            _require(leave_blocked(standing))
            await remove_member(transaction, org_id, actor.id)
            await self._record(transaction, actor, "org.member.leave", org_id, actor.id)

    async def remove(self, actor: Actor, org_id: str, customer_id: str) -> None:
        """Let somebody else go.

        Raises InvalidInputError (`ORG_CANNOT_REMOVE_SELF`), NotFoundError
        (`ORG_MEMBER_NOT_FOUND`), UnmetError (`CANNOT_REMOVE_LAST_ADMIN`), ForbiddenError when the
        actor has lost the right meanwhile.
        """
        if customer_id == actor.id:
            raise InvalidInputError(
                "ORG_CANNOT_REMOVE_SELF", "you cannot remove yourself", hint="leave instead"
            )
        async with self._database.transaction() as transaction:
            await lock_org(transaction, org_id)
            standing = await find_standing(transaction, org_id, customer_id)
            if standing is None:
                raise member_not_found(customer_id)
            _require(removal_blocked(standing))
            await require_admin(transaction, actor, org_id)
            await remove_member(transaction, org_id, customer_id)
            await self._record(
                transaction,
                actor,
                "org.member.remove",
                org_id,
                customer_id,
                {"role": standing.role.value},
            )

    async def change_role(
        self, actor: Actor, org_id: str, customer_id: str, role: Role
    ) -> MemberRow:
        """Give a member another role; one's own is allowed. Raises as `change_role_in` does."""
        async with self._database.transaction() as transaction:
            return await self.change_role_in(transaction, actor, org_id, customer_id, role)

    async def change_role_in(
        self, transaction: Transaction, actor: Actor, org_id: str, customer_id: str, role: Role
    ) -> MemberRow:
        """Give a member another role in a transaction that holds no other organisation's lock.

        Raises NotFoundError (`ORG_MEMBER_NOT_FOUND`), UnmetError (`CANNOT_DEMOTE_LAST_ADMIN`),
        ForbiddenError when the actor has lost the right meanwhile.
        """
        await lock_org(transaction, org_id)
        standing = await find_standing(transaction, org_id, customer_id)
        if standing is None:
            raise member_not_found(customer_id)
        _require(role_blocked(standing, role))
        await require_admin(transaction, actor, org_id)
        if role is not standing.role:
            await set_role(transaction, org_id=org_id, customer_id=customer_id, role=role)
            details = {"before": standing.role.value, "after": role.value}
            await self._record(transaction, actor, "org.member.role", org_id, customer_id, details)
        member = await find_member(transaction, org_id, customer_id)
        if member is None:
            raise member_not_found(customer_id)
        return member

    async def _record(
        self,
        transaction: Transaction,
        actor: Actor,
        action: str,
        org_id: str,
        customer_id: str,
        details: dict[str, str] | None = None,
    ) -> None:
        await self._audit.record(
            transaction,
            actor,
            action,
            org_id=org_id,
            subject_kind="customer",
            subject_id=customer_id,
            details=details,
        )


def member_not_found(customer_id: str) -> NotFoundError:
    """The error for somebody who is no member."""
    return NotFoundError(
        "ORG_MEMBER_NOT_FOUND",
        _NO_SUCH_MEMBER,
        resource=Resource(kind="org_member", name=customer_id),
    )


def _require(blocked: Blocked | None) -> None:
    if blocked is not None:
        raise UnmetError(
            blocked.value,
            _SENTENCES[blocked],
            hint="make another member administrator first",
        )
