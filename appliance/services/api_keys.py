"""Making, listing, rotating and ending API keys.

Invariant: the text of a key leaves once, at its making. A key ends by its row's end: at once when
it is revoked, at its hour when it is rotated; either is announced to every process, and whoever
misses that notices by the number of changes (`key_changes.py`); the scheduler purges what ended.
Every act is in the audit log.
"""

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import InvalidInputError, NotFoundError, Resource
from appliance.base.ids import IdMaker
from appliance.base.units import Seconds
from appliance.domain.access.callers import OPERATOR, Actor
from appliance.services.audit import AuditLog
from appliance.services.keys import CreatedKey, lookup_token, make_key
from appliance.services.projects import check_text, project_not_found
from appliance.services.stores import Stores
from appliance.storage.postgres.api_keys import (
    DroppedKey,
    KeyRow,
    drop_key,
    end_key_at,
    list_keys,
    lock_key,
)
from appliance.storage.postgres.pool import Transaction
from appliance.storage.postgres.project_admin import lock_project
from appliance.storage.postgres.projects import KeyKind, add_key, find_project
from appliance.storage.streams.publish import KEYS_REVOKED_SUBJECT

NAME_CHARACTERS_MAX: Final = 150
OVERLAP_SECONDS_MAX: Final = 366 * 86400.0
"""A key that lives on for longer than a year was not rotated."""


class StoredKey(Struct, frozen=True, kw_only=True):
    """A key just made: its text, shown once, and its entry in lists."""

    fresh: CreatedKey
    row: KeyRow


class RotatedKey(Struct, frozen=True, kw_only=True):
    """A key's successor, and when the key itself ends: None when it has already."""

    fresh: CreatedKey
    old_id: str
    old_expires_at: datetime | None


class ApiKeysService:
    """Use-cases about the keys of projects."""

    def __init__(self, stores: Stores, audit: AuditLog, *, clock: Clock, ids: IdMaker) -> None:
        self._database = stores.postgres
        self._publisher = stores.publisher
        self._audit = audit
        self._clock = clock
        self._ids = ids

    async def create_key(
        self, project_id: str, kind: KeyKind, *, display_name: str = "", actor: Actor = OPERATOR
    ) -> CreatedKey:
        """Make a key of a project; raises NotFoundError (`PROJECT_NOT_FOUND`)."""
        made = await self.store_key(project_id, kind, display_name=display_name, actor=actor)
        return made.fresh

    async def store_key(
        self, project_id: str, kind: KeyKind, *, display_name: str, actor: Actor
    ) -> StoredKey:
        """Make a key of a project [services 6.3]; raises NotFoundError (`PROJECT_NOT_FOUND`)."""
        name = check_text(display_name, NAME_CHARACTERS_MAX)
        async with self._database.transaction() as transaction:
            project = await lock_project(transaction, project_id)
            if project is None:
                raise project_not_found(project_id)
            made = await self._add(transaction, project_id, project.org_id, kind, name)
            await self._record(transaction, actor, "project.key.create", made.row)
        await self._announce(made.fresh.fresh.token)
        return made

    async def list_keys(self, project_id: str) -> tuple[KeyRow, ...]:
        """The living keys of a project; raises NotFoundError (`PROJECT_NOT_FOUND`)."""
        if await find_project(self._database, project_id) is None:
            raise project_not_found(project_id)
        return await list_keys(self._database, project_id, now=self._clock.now())

    async def delete_key(self, project_id: str, key_id: str, *, actor: Actor) -> None:
        """End a key of this project for good; raises NotFoundError (`API_KEY_NOT_FOUND`)."""
        async with self._database.transaction() as transaction:
            dropped = await drop_key(
                transaction, key_id=key_id, project_id=project_id, now=self._clock.now()
            )
            if dropped is None:
                raise _key_not_found(key_id)
            await self._record(transaction, actor, "project.key.delete", dropped)
        await self._announce(dropped.token)

    async def revoke_key(self, id_or_key: str, *, actor: Actor = OPERATOR) -> None:
        """End a key of any project, named by id or text; raises NotFoundError."""
        async with self._database.transaction() as transaction:
            dropped = await drop_key(
                transaction,
                key_id=id_or_key,
                token=lookup_token(id_or_key),
                now=self._clock.now(),
            )
            if dropped is None:
                raise _key_not_found("")
            await self._record(transaction, actor, "project.key.delete", dropped)
        await self._announce(dropped.token)

    async def rotate_key(
        self, key_id: str, overlap: Seconds, *, actor: Actor = OPERATOR
    ) -> RotatedKey:
        """Make a successor of a key now, and let the key end after the overlap.

        A key that was to end earlier still does. Raises NotFoundError (`API_KEY_NOT_FOUND`),
        InvalidInputError (`INVALID_OVERLAP`).
        """
        if not 0 <= overlap <= OVERLAP_SECONDS_MAX:
            raise InvalidInputError("INVALID_OVERLAP", "an overlap lasts from 0s to 366d")
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            old = await lock_key(transaction, key_id, now=now)
            if old is None:
                raise _key_not_found(key_id)
            made = await self._add(
                transaction, old.project_id, old.org_id, old.kind, old.display_name
            )
            await self._record(transaction, actor, "project.key.create", made.row)
            ending = now + timedelta(seconds=overlap)
            token, ends_at = await self._end(transaction, old, ending, now)
            await self._record(
                transaction,
                actor,
                "project.key.rotate",
                old,
                {"successor": made.row.id, "ends_at": ends_at.isoformat()},
            )
        await self._announce(made.fresh.fresh.token)
        await self._announce(token)
        return RotatedKey(
            fresh=made.fresh, old_id=old.id, old_expires_at=ends_at if ends_at > now else None
        )

    async def _end(
        self, transaction: Transaction, old: KeyRow, ending: datetime, now: datetime
    ) -> tuple[str, datetime]:
        if ending > now:
            return await end_key_at(transaction, old.id, ending)
        dropped = await drop_key(transaction, key_id=old.id, now=now)
        assert dropped is not None, "it is locked"
        return dropped.token, now

    async def _add(
        self, transaction: Transaction, project_id: str, org_id: str, kind: KeyKind, name: str
    ) -> StoredKey:
        fresh = make_key(self._ids, kind, name)
        created_at = await add_key(transaction, project_id=project_id, key=fresh.fresh)
        row = KeyRow(
            id=fresh.id,
            project_id=project_id,
            org_id=org_id,
            kind=kind,
            display_name=name,
            masked=fresh.fresh.masked,
            key=fresh.key.reveal() if kind is KeyKind.PUBLIC else "",
            created_at=created_at,
            used_at=None,
            expires_at=None,
        )
        return StoredKey(fresh=fresh, row=row)

    async def _record(
        self,
        transaction: Transaction,
        actor: Actor,
        action: str,
        key: KeyRow | DroppedKey,
        details: dict[str, str] | None = None,
    ) -> None:
        await self._audit.record(
            transaction,
            actor,
            action,
            org_id=key.org_id,
            project_id=key.project_id,
            subject_kind="api_key",
            subject_id=key.id,
            details={"kind": key.kind.value, **(details or {})},
        )

    async def _announce(self, token: str) -> None:
        await self._publisher.announce(KEYS_REVOKED_SUBJECT, token.encode())


def _key_not_found(key_id: str) -> NotFoundError:
    """No such key; a text that may be a key itself is never repeated."""
    return NotFoundError(
        "API_KEY_NOT_FOUND",
        "there is no such key",
        hint="see `pug-appliance key list`",
        resource=Resource(kind="api_key", name=key_id) if key_id else None,
    )
