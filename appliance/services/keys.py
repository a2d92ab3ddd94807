"""API keys: who a presented key is.

Invariant: a failing database is never "unknown key": SDKs throw events away on `unauthenticated`
[services 3.1], so it is UnavailableError, or the last known owner while that is fresh enough. The
cache is bounded in size and age. A key that has ended is refused everywhere within a second: it is
announced, and `key_changes.py` notices what nobody announced (decision 0019). Private keys are
remembered only as their hash. Making and ending keys stands in `api_keys.py`.
"""

import asyncio
import hashlib
import re
from collections import OrderedDict
from datetime import datetime
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, UnavailableError
from appliance.base.ids import IdMaker, make_api_key
from appliance.config.secrets import Secret
from appliance.services.key_changes import KeyChanges
from appliance.services.key_use import KeyUse
from appliance.storage.postgres.api_keys import KeyOwner, find_key_owner
from appliance.storage.postgres.pool import Postgres
from appliance.storage.postgres.projects import FreshKey, KeyKind
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.publish import KEYS_REVOKED_SUBJECT

KNOWN_MAX: Final = 10_000
UNKNOWN_MAX: Final = 10_000
KNOWN_SECONDS: Final = 60.0
"""How long an owner is believed without asking again while nothing about keys changes."""
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
    expires_at: datetime | None

    def has_ended(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


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

    def __init__(
        self, database: Postgres, streams: Streams, clock: Clock, *, use: KeyUse | None = None
    ) -> None:
        self._database = database
        self._clock = clock
        self._use = use or KeyUse(database, clock)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, asyncio.Future[Principal | None]] = {}
        self._changes = KeyChanges(database, clock, self._forget_all)
        self._forgotten = 0
        streams.listen(KEYS_REVOKED_SUBJECT, self._forget)

    async def resolve(self, token: str) -> Principal | None:
        """Whose key this is; None for a key that is not ours, has ended or whose project has.

        Raises UnavailableError when that cannot be found out.
        """
        if not _KEY.fullmatch(token):
            return None
        await self._changes.look()
        lookup = lookup_token(token)
        principal = await self._find(lookup)
        if principal is not None:
            self._use.note(principal.key_id)
        return principal

    async def close(self) -> None:
        """Write down what is not written yet; before the database is closed."""
        await self._changes.close()
        await self._use.close()

    async def _find(self, lookup: str) -> Principal | None:
        now = self._clock.monotonic_seconds()
        known = self._known.get(lookup)
        if known is not None and known.has_ended(self._clock.now()):
            return None
        believed_seconds = STALE_SECONDS_MAX if self._changes.blind else KNOWN_SECONDS
        if known is not None and now - known.at < believed_seconds:
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
            if self._asking.get(lookup) is running:
                del self._asking[lookup]

    async def _ask(self, lookup: str, known: _Known | None, now: float) -> Principal | None:
        forgotten = self._forgotten
        try:
            owner = await find_key_owner(self._database, lookup, now=self._clock.now())
        except ApplianceError as error:
            if known is not None and now - known.at < STALE_SECONDS_MAX:
                _LOG.warning("key_owner_stale", key_id=known.principal.key_id, reason=error.reason)
                return known.principal
            raise _cannot_tell() from error
        if self._forgotten != forgotten:
            # something changed while we asked: true for this request, not to be remembered
            return None if owner is None else _principal(owner)
        if owner is None:
            self._known.pop(lookup, None)
            self._unknown[lookup] = now
            _trim(self._unknown, UNKNOWN_MAX)
            return None
        principal = _principal(owner)
        self._known[lookup] = _Known(principal, now, owner.expires_at)
        self._known.move_to_end(lookup)
        _trim(self._known, KNOWN_MAX)
        return principal

    def _forget(self, payload: bytes) -> None:
        """Another process made, changed or revoked keys: forget one, or all for an empty text."""
        lookup = payload.decode("ascii", "replace")
        if not lookup:
            self._forget_all()
            return
        self._forgotten += 1
        self._known.pop(lookup, None)
        self._unknown.pop(lookup, None)
        self._asking.pop(lookup, None)

    def _forget_all(self) -> None:
        self._forgotten += 1
        self._known.clear()
        self._unknown.clear()
        self._asking.clear()


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
