"""Who comes in by an address that was proven: found, or made with what they need [services 3.10].

Invariant: one address has one customer, however many links, invitations and providers prove it at
once; only somebody who was not invited gets an organisation of their own.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import InvalidInputError
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import Actor, ActorKind
from appliance.domain.access.passwords import EMAIL_CHARACTERS_MAX, NAME_CHARACTERS_MAX
from appliance.services.audit import AuditLog
from appliance.services.organisations import OrganisationsService
from appliance.services.projects import DEFAULT_NAME, check_timezone
from appliance.storage.postgres.customers import (
    CustomerRow,
    add_customer,
    lock_by_email,
    mark_verified,
)
from appliance.storage.postgres.pool import Transaction

PICTURE_CHARACTERS_MAX: Final = 255
_UTC: Final = ""


class Newcomer(Struct, frozen=True, kw_only=True):
    """What is known of somebody whose address was proven.

    `how` says in the audit log by what, like `magic_link`; `address` is where they call from.
    """

    email: str
    how: str
    address: str
    display_name: str = ""
    picture_uri: str = ""


class Provisioning:
    """Finds or makes customers."""

    def __init__(
        self,
        organisations: OrganisationsService,
        *,
        clock: Clock,
        ids: IdMaker,
        audit: AuditLog,
        open_sign_up: bool,
    ) -> None:
        self._organisations = organisations
        self._clock = clock
        self._ids = ids
        self._audit = audit
        self.open_sign_up = open_sign_up

    async def welcome(
        self, transaction: Transaction, newcomer: Newcomer, *, invited: bool, timezone: str = ""
    ) -> CustomerRow | None:
        """The customer of a proven address, made if there is none; their address counts as proven.

        A customer who is made and was not invited gets an organisation and a project in `timezone`,
        an unknown one being UTC. None for somebody who is disabled, or not known while signing up
        is closed.
        """
        now = self._clock.now()
        found = await lock_by_email(transaction, newcomer.email)
        if found is None:
            if not invited and not self.open_sign_up:
                return None
            found = await self._make(transaction, newcomer, now, invited=invited, timezone=timezone)
        if found.disabled:
            return None
        await mark_verified(transaction, found.id, now)
        return found

    async def _make(
        self,
        transaction: Transaction,
        newcomer: Newcomer,
        now: datetime,
        *,
        invited: bool,
        timezone: str,
    ) -> CustomerRow:
        if len(newcomer.email) > EMAIL_CHARACTERS_MAX:
            raise InvalidInputError("INVALID_ARGUMENT", "the e-mail address is too long")
        customer_id = self._ids.make()
        made = await add_customer(
            transaction,
            customer_id=customer_id,
            email=newcomer.email,
            display_name=newcomer.display_name[:NAME_CHARACTERS_MAX],
            picture_uri=_fitting(newcomer.picture_uri),
            verified_at=now,
        )
        if made:
            actor = Actor(
                kind=ActorKind.CUSTOMER,
                id=customer_id,
                label=newcomer.email,
                address=newcomer.address,
            )
            await self._audit.record(
                transaction,
                actor,
                "customer.create",
                subject_kind="customer",
                subject_id=customer_id,
                details={"email": newcomer.email, "with": newcomer.how},
            )
            if not invited:
                await self._organisations.found(
                    transaction,
                    actor,
                    display_name=DEFAULT_NAME,
                    admin_id=customer_id,
                    timezone=known_timezone(timezone),
                )
        row = await lock_by_email(transaction, newcomer.email)
        assert row is not None
        return row


def known_timezone(text: str) -> str:
    """A zone as projects store it; an unknown one is UTC [services 3.10]."""
    try:
        return check_timezone(text)
    except InvalidInputError:
        return _UTC


def _fitting(uri: str) -> str:
    return uri[:PICTURE_CHARACTERS_MAX]
