"""What a call that names a person does: upsert, device, merge, and what the read side is told.

Invariant: one transaction decides, and the messages are made inside it, so that one which cannot
be made undoes everything; they are published after the commit, and whoever fails there is handled
again with the same outcome [profiles 2.2]. Handling calls in any order, or twice, ends in the same
state (decision 0023).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import InvalidInputError
from appliance.base.ids import IdMaker
from appliance.domain.people.messages import (
    Alias,
    Identification,
    ProfileState,
    alias_message,
    upsert_message,
)
from appliance.domain.people.traits import Held, absorb, apply_traits
from appliance.services.stores import Stores
from appliance.storage.postgres.erasure import hide_profile
from appliance.storage.postgres.pool import Transaction
from appliance.storage.postgres.profiles import (
    StoredProfile,
    ensure_profile,
    link_device,
    lock_profile,
    move_devices,
    save_held,
    take_version,
)
from appliance.storage.streams.people import ALIAS_SUBJECT, UPSERT_SUBJECT
from appliance.storage.streams.publish import PROJECT_HEADER

_NOTHING: Final = Held(properties={}, orders={})

_LOG: Final = structlog.stdlib.get_logger()


class Outgoing(Struct, frozen=True, kw_only=True):
    """A message for a worker of the read side."""

    subject: str
    payload: bytes


class Merging:
    """The write model of people."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._postgres = stores.postgres
        self._publisher = stores.publisher
        self._clock = clock
        self._ids = IdMaker(clock)

    async def apply(self, call: Identification) -> None:
        """Do what the call asks for and tell the read side.

        Raises InvalidInputError when a message would be too large, NotFoundError when the project
        is gone, UnavailableError and its like otherwise.
        """
        bytes_max = await self._publisher.payload_bytes_max()
        async with self._postgres.transaction() as transaction:
            outgoing = await self._decide(transaction, call)
            for message in outgoing:
                if len(message.payload) > bytes_max:
                    raise InvalidInputError(
                        "PROFILE_TOO_LARGE", "the properties of the profile are too large"
                    )
        # Sent in this order, acknowledged together; readers go by the versions in any case.
        await asyncio.gather(*(self._publish(call.project_id, message) for message in outgoing))

    async def _publish(self, project_id: str, message: Outgoing) -> None:
        await self._publisher.publish(
            message.subject, message.payload, message_id=None, headers={PROJECT_HEADER: project_id}
        )

    async def _decide(self, transaction: Transaction, call: Identification) -> Sequence[Outgoing]:
        target = await self._upsert(transaction, call)
        if call.device_id and not await link_device(
            transaction,
            project_id=call.project_id,
            device_id=call.device_id,
            profile_id=target.id,
            at=call.accepted_at,
        ):
            _LOG.info("device_not_linked", project_id=call.project_id)
        if call.anonymous_id in {"", target.id}:
            return (_upsert(call, target),)
        target, version = await _absorb(transaction, call, target, now=self._clock.now())
        return (
            _upsert(call, target),
            self._tombstone(call, version),
            Outgoing(
                subject=ALIAS_SUBJECT,
                payload=alias_message(
                    Alias(
                        project_id=call.project_id,
                        alias_id=call.anonymous_id,
                        profile_id=target.id,
                        external_id=call.external_id,
                        version=abs(call.accepted_at),  # a call of lowest rank has a negative one
                    )
                ).to_binary(),
            ),
        )

    async def _upsert(self, transaction: Transaction, call: Identification) -> StoredProfile:
        fresh_id = self._ids.make()
        stored = await ensure_profile(
            transaction,
            project_id=call.project_id,
            external_id=call.external_id,
            fresh_id=fresh_id,
            held=apply_traits(_NOTHING, call.traits, at=call.accepted_at),
        )
        if stored.id == fresh_id:
            return stored
        held = apply_traits(stored.held, call.traits, at=call.accepted_at)
        return await _save_changes(transaction, call.project_id, stored, held)

    def _tombstone(self, call: Identification, version: int) -> Outgoing:
        """The anonymous id is nobody of its own any more."""
        now = self._clock.now()
        state = ProfileState(
            project_id=call.project_id,
            id=call.anonymous_id,
            external_id="",
            properties={},
            deleted=True,
            created_at=now,
            updated_at=now,
            version=version,
        )
        return Outgoing(subject=UPSERT_SUBJECT, payload=upsert_message(state).to_binary())


async def _absorb(
    transaction: Transaction, call: Identification, target: StoredProfile, *, now: datetime
) -> tuple[StoredProfile, int]:
    """Merge the anonymous profile, where there is one; the target, and the tombstone's version."""
    project_id, anonymous_id = call.project_id, call.anonymous_id
    source = await lock_profile(transaction, project_id=project_id, profile_id=anonymous_id)
    if source is not None:
        held = absorb(target.held, source.held.properties)
        target = await _save_changes(transaction, project_id, target, held)
        await move_devices(
            transaction, project_id=project_id, from_id=anonymous_id, to_id=target.id
        )
        await hide_profile(transaction, project_id, anonymous_id, now=now)
    return target, await take_version(transaction)


async def _save_changes(
    transaction: Transaction, project_id: str, stored: StoredProfile, held: Held
) -> StoredProfile:
    if held == stored.held:
        return stored
    return await save_held(transaction, project_id=project_id, profile_id=stored.id, held=held)


def _upsert(call: Identification, profile: StoredProfile) -> Outgoing:
    state = ProfileState(
        project_id=call.project_id,
        id=profile.id,
        external_id=profile.external_id,
        properties=profile.held.properties,
        deleted=False,
        created_at=profile.created_at,
        updated_at=profile.updated_at,
        version=profile.version,
    )
    return Outgoing(subject=UPSERT_SUBJECT, payload=upsert_message(state).to_binary())
