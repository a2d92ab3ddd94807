"""API keys: who a presented key is, and making and revoking keys.

Invariant: a failing database is never "unknown key": SDKs throw events away on `unauthenticated`
[services 3.1], so it is UnavailableError, or the last known owner while that is fresh enough. The
cache is bounded in size and age; a revocation is announced to every process and ends the rest by
age. Private keys are remembered only as their hash.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, NotFoundError, UnavailableError
from appliance.base.ids import IdMaker, make_api_key
from appliance.config.secrets import Secret
from appliance.storage.postgres.pool import Postgres
from appliance.storage.postgres.projects import (
    FreshKey,
    KeyKind,
    KeyOwner,
    KeyRow,
    add_key,
    drop_key,
    find_key_owner,
    find_project,
    list_keys,
)
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.publish import KEYS_REVOKED_SUBJECT, Publisher

KNOWN_MAX: Final = 10_000
UNKNOWN_MAX: Final = 10_000
KNOWN_SECONDS: Final = 60.0
"""How long an owner is believed without asking again: also the longest a revoked key can live on
where the announcement was lost."""
UNKNOWN_SECONDS: Final = 5.0
STALE_SECONDS_MAX: Final = 3600.0
"""How long an owner is believed while the database does not answer; nobody can revoke meanwhile."""

_KEY: Final = re.compile(r"(?:pub|prv)_[0-9A-Za-z]{8,60}")
_PRIVATE_PREFIX: Final = "prv_"
_MASK_CHARACTERS: Final = 4
_SHORT_KEY_CHARACTERS: Final = 8

_LOG: Final = structlog.stdlib.get_logger()


class Principal(Struct, frozen=True, kw_only=True):
    """Who a credential stands for: a project, through one of its keys."""

    project_id: str
    timezone: str
    kind: KeyKind
    key_id: str


class CreatedKey(Struct, frozen=True, kw_only=True):
    """A fresh key; the text is shown once and never stored when it is private."""

    id: str
    kind: KeyKind
    key: Secret
    fresh: FreshKey


class _Known(Struct, frozen=True):
    principal: Principal
    at: float


def lookup_token(key: str) -> str:
    """What a key is looked up by: itself, or its SHA-256 when it is private [storage 1.2]."""
    if key.startswith(_PRIVATE_PREFIX):
        return hashlib.sha256(key.encode()).hexdigest()
    return key


def mask_key(key: str) -> str:
    """The form that lists show [services 3.4]."""
    if len(key) <= _SHORT_KEY_CHARACTERS:
        return "***"
    return f"{key[:_MASK_CHARACTERS]}...{key[-_MASK_CHARACTERS:]}"


def make_key(ids: IdMaker, kind: KeyKind, display_name: str) -> CreatedKey:
    """A fresh key of this kind, not stored yet."""
    text = make_api_key(private=kind is KeyKind.PRIVATE)
    key_id = ids.make()
    return CreatedKey(
        id=key_id,
        kind=kind,
        key=Secret(text),
        fresh=FreshKey(
            id=key_id,
            kind=kind,
            display_name=display_name,
            masked=mask_key(text),
            token=lookup_token(text),
        ),
    )


class KeyRing:
    """Resolves presented keys, with a cache; one of them a process."""

    def __init__(self, database: Postgres, streams: Streams, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, asyncio.Future[Principal | None]] = {}
        streams.listen(KEYS_REVOKED_SUBJECT, self._forget)

    async def resolve(self, token: str) -> Principal | None:
        """Whose key this is; None for a key that is not ours.

        Raises UnavailableError when that cannot be found out.
        """
        if not _KEY.fullmatch(token):
            return None
        lookup = lookup_token(token)
        now = self._clock.monotonic_seconds()
        known = self._known.get(lookup)
        if known is not None and now - known.at < KNOWN_SECONDS:
            return known.principal
        missed_at = self._unknown.get(lookup)
        if missed_at is not None and now - missed_at < UNKNOWN_SECONDS:
            return None
        return await self._ask_once(lookup, known, now)

    async def _ask_once(self, lookup: str, known: _Known | None, now: float) -> Principal | None:
        """Ask the database, once however many requests want to know."""
        running = self._asking.get(lookup)
        if running is not None:
            return await asyncio.shield(running)
        running = asyncio.get_running_loop().create_future()
        self._asking[lookup] = running
        try:
            principal = await self._ask(lookup, known, now)
        except BaseException as error:
            failure = (
                error if isinstance(error, ApplianceError) else _cannot_tell()
            )  # whoever waits is not cancelled because the first asker is
            running.set_exception(failure)
            running.exception()
            raise
        else:
            running.set_result(principal)
            return principal
        finally:
            del self._asking[lookup]

    async def _ask(self, lookup: str, known: _Known | None, now: float) -> Principal | None:
        try:
            owner = await find_key_owner(self._database, lookup)
        except ApplianceError as error:
            if known is not None and now - known.at < STALE_SECONDS_MAX:
                _LOG.warning("key_owner_stale", key_id=known.principal.key_id, reason=error.reason)
                return known.principal
            raise _cannot_tell() from error
        if owner is None:
            self._known.pop(lookup, None)
            self._unknown[lookup] = now
            _trim(self._unknown, UNKNOWN_MAX)
            return None
        principal = _principal(owner)
        self._known[lookup] = _Known(principal, now)
        self._known.move_to_end(lookup)
        _trim(self._known, KNOWN_MAX)
        return principal

    def _forget(self, payload: bytes) -> None:
        """Another process made, changed or revoked keys: forget one, or all for an empty text."""
        lookup = payload.decode("ascii", "replace")
        if lookup:
            self._known.pop(lookup, None)
            self._unknown.pop(lookup, None)
        else:
            self._known.clear()
            self._unknown.clear()


class KeysService:
    """Making, listing and revoking keys."""

    def __init__(self, database: Postgres, publisher: Publisher, ids: IdMaker) -> None:
        self._database = database
        self._publisher = publisher
        self._ids = ids

    async def create_key(
        self, project_id: str, kind: KeyKind, *, display_name: str = ""
    ) -> CreatedKey:
        """Make a key of a project; raises NotFoundError (`PROJECT_NOT_FOUND`)."""
        key = make_key(self._ids, kind, display_name)
        try:
            async with self._database.transaction() as transaction:
                await add_key(transaction, project_id=project_id, key=key.fresh)
        except NotFoundError as error:
            raise NotFoundError(
                "PROJECT_NOT_FOUND",
                f"there is no project {project_id}",
                hint="see `pug-appliance project list`",
            ) from error
        await self._publisher.announce(KEYS_REVOKED_SUBJECT, key.fresh.token.encode())
        return key

    async def list_keys(self, project_id: str) -> tuple[KeyRow, ...]:
        """The keys of a project; raises NotFoundError (`PROJECT_NOT_FOUND`)."""
        if await find_project(self._database, project_id) is None:
            raise NotFoundError(
                "PROJECT_NOT_FOUND",
                f"there is no project {project_id}",
                hint="see `pug-appliance project list`",
            )
        return await list_keys(self._database, project_id)

    async def revoke_key(self, id_or_key: str) -> None:
        """End a key for good, named by its id or its text; raises NotFoundError."""
        token = await drop_key(self._database, key_id=id_or_key, token=lookup_token(id_or_key))
        if token is None:
            raise NotFoundError(
                "API_KEY_NOT_FOUND", "there is no such key", hint="see `pug-appliance key list`"
            )
        await self._publisher.announce(KEYS_REVOKED_SUBJECT, token.encode())


def _principal(owner: KeyOwner) -> Principal:
    return Principal(
        project_id=owner.project_id,
        timezone=owner.timezone,
        kind=owner.kind,
        key_id=owner.key_id,
    )


def _cannot_tell() -> UnavailableError:
    return UnavailableError(
        "UNAVAILABLE",
        "the key cannot be checked at the moment",
        hint="see `pug-appliance status` and the log of postgres",
    )


def _trim(cache: OrderedDict[str, _Known] | OrderedDict[str, float], size_max: int) -> None:
    while len(cache) > size_max:
        cache.popitem(last=False)
