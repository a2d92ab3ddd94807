"""From what a provider vouches for to a customer and their roles [services 3.8, 3.10].

Invariant: a known identity is its customer's for ever; an unknown one comes to the customer of the
same verified address, or makes one. Roles that a provider decides hold after every sign-in, but no
organisation loses its last administrator by them. Order of locks: organisations, then customer.
"""

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import Actor, ActorKind
from appliance.domain.access.memberships import role_blocked
from appliance.domain.access.oidc import Admission
from appliance.domain.access.roles import Role
from appliance.services.audit import AuditLog
from appliance.services.projects import DEFAULT_NAME
from appliance.services.provisioning import Newcomer, Provisioning
from appliance.storage.postgres.identities import (
    IdentifiedCustomer,
    add_identity,
    find_identity,
    find_oldest_org,
)
from appliance.storage.postgres.orgs import find_standing, join_org, lock_org, set_role
from appliance.storage.postgres.pool import Transaction
from appliance.storage.postgres.projects import ensure_default_org

_LOG = structlog.stdlib.get_logger()


class Arrival(Struct, frozen=True, kw_only=True):
    """Somebody a provider vouches for, and from where they come.

    `provider` names the issuer in the table of identities, `how` in the audit log.
    """

    provider: str
    how: str
    admission: Admission
    address: str
    timezone: str


class Linking:
    """Finds or makes the customer of an identity."""

    def __init__(
        self, provisioning: Provisioning, *, clock: Clock, ids: IdMaker, audit: AuditLog
    ) -> None:
        self._provisioning = provisioning
        self._clock = clock
        self._ids = ids
        self._audit = audit

    async def welcome(
        self, transaction: Transaction, arrival: Arrival
    ) -> IdentifiedCustomer | None:
        """The customer; None for somebody disabled, unwelcome or without any organisation."""
        roles = await self._locked_roles(transaction, arrival.admission)
        if roles is None:
            return None
        customer = await self._customer(transaction, arrival)
        if customer is None or customer.disabled:
            return None
        actor = Actor(
            kind=ActorKind.CUSTOMER,
            id=customer.id,
            label=customer.email,
            address=arrival.address,
        )
        for org_id, role in roles.items():
            await self._give_role(transaction, actor, org_id, role, how=arrival.how)
        return customer

    async def _locked_roles(
        self, transaction: Transaction, admission: Admission
    ) -> dict[str, Role] | None:
        """Roles by organisation, which are locked; None when none of them exists (any more).

        An organisation named by its id outweighs the oldest one, should they be the same.
        """
        wanted: dict[str, Role] = {}
        for grant in sorted(admission.grants, key=lambda one: one.org_id or ""):
            org_id = grant.org_id or await self._oldest_org(transaction)
            wanted[org_id] = grant.role
        found: dict[str, Role] = {}
        for org_id in sorted(wanted):
            if await lock_org(transaction, org_id) is None:
                _LOG.warning("oidc_organisation_unknown", org_id=org_id)
            else:
                found[org_id] = wanted[org_id]
        return found if found or not wanted else None

    async def _oldest_org(self, transaction: Transaction) -> str:
        return await find_oldest_org(transaction) or await ensure_default_org(
            transaction, fresh_id=self._ids.make(), display_name=DEFAULT_NAME
        )

    async def _customer(
        self, transaction: Transaction, arrival: Arrival
    ) -> IdentifiedCustomer | None:
        admission = arrival.admission
        known = await find_identity(
            transaction, provider=arrival.provider, subject=admission.subject
        )
        if known is not None:
            return known
        row = await self._provisioning.welcome(
            transaction,
            Newcomer(
                email=admission.email,
                how=arrival.how,
                address=arrival.address,
                display_name=admission.display_name,
                picture_uri=admission.picture_uri,
            ),
            invited=bool(admission.grants),
            timezone=arrival.timezone,
        )
        if row is None:
            return None
        linked = await add_identity(
            transaction,
            identity_id=self._ids.make(),
            customer_id=row.id,
            provider=arrival.provider,
            subject=admission.subject,
        )
        if not linked:  # tied at the same moment; whose it is now decides
            return await find_identity(
                transaction, provider=arrival.provider, subject=admission.subject
            )
        await self._audit.record(
            transaction,
            Actor(kind=ActorKind.CUSTOMER, id=row.id, label=row.email, address=arrival.address),
            "customer.identity.link",
            subject_kind="customer",
            subject_id=row.id,
            details={"with": arrival.how},
        )
        return IdentifiedCustomer(id=row.id, email=row.email, disabled=row.disabled)

    async def _give_role(
        self, transaction: Transaction, actor: Actor, org_id: str, role: Role, *, how: str
    ) -> None:
        standing = await find_standing(transaction, org_id, actor.id)
        if standing is None:
            await join_org(
                transaction, org_id=org_id, customer_id=actor.id, role=role, at=self._clock.now()
            )
            await self._record(transaction, actor, org_id, {"after": role.value, "with": how})
            return
        if standing.role is role:
            return
        blocked = role_blocked(standing, role)
        if blocked is not None:
            _LOG.warning("oidc_role_kept", org_id=org_id, reason=blocked.value)
            return
        await set_role(transaction, org_id=org_id, customer_id=actor.id, role=role)
        details = {"before": standing.role.value, "after": role.value, "with": how}
        await self._record(transaction, actor, org_id, details)

    async def _record(
        self, transaction: Transaction, actor: Actor, org_id: str, details: dict[str, str]
    ) -> None:
        action = "org.member.role" if "before" in details else "org.member.join"
        await self._audit.record(
            transaction,
            actor,
            action,
            org_id=org_id,
            subject_kind="customer",
            subject_id=actor.id,
            details=details,
        )
