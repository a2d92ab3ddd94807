"""Cookieless identity: the effects around `domain/ingest/cookieless.py` [ingestion 4].

Invariant: a batch without cookieless events touches no store. Salts live in the store (memory only)
and in this process for today and yesterday; they are never logged. A failing store drops events
under a name (salt) or degrades their session; it never invents an identity.
"""

from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Final, Protocol

import structlog
from msgspec import Struct
from msgspec.structs import replace

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, ConflictError, InvalidInputError
from appliance.base.ids import Randomness, random_uuid
from appliance.domain.ingest.chain import Draft, DropReason
from appliance.domain.ingest.cookieless import (
    SALT_BYTES,
    SESSION_STATE_SECONDS,
    AddressSource,
    Begin,
    DegradeReason,
    Join,
    SessionState,
    day_of,
    decide_session,
    decode_salt,
    decode_session,
    derive_visitor_id,
    encode_salt,
    encode_session,
    fallback_session_id,
    find_client_address,
    is_open_day,
    salt_key,
    salt_seconds_left,
    session_key,
)
from appliance.domain.ingest.event import CheckedEvent
from appliance.domain.ingest.facts import RequestFacts

_LOG: Final = structlog.get_logger("cookieless")
IDENTITY_UNAVAILABLE: Final = "COOKIELESS_IDENTITY_UNAVAILABLE"
_DEGRADE_LOG_SECONDS: Final = 60.0
_RACES_MAX: Final = 4
"""How often a session is decided anew because somebody else wrote its state meanwhile."""


class Entry(Protocol):
    """A stored value and the revision that a replacement names."""

    @property
    def value(self) -> bytes: ...

    @property
    def revision(self) -> int: ...


class EphemeralStore(Protocol):
    """A key-value store that never reaches a disk; `storage/streams/kv.py` has the real one.

    Every method raises an ApplianceError when the store does not answer.
    """

    async def load(self, key: str) -> Entry | None: ...

    async def create(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None
    ) -> Entry | None: ...

    async def replace(
        self, key: str, value: bytes, *, expected: int, ttl_seconds: int | None = None
    ) -> int: ...


class Resolution(Struct, frozen=True, kw_only=True):
    """A batch whose kept events all have an identity, and what the metrics want to know.

    `source` is None when the batch had no cookieless event [ingestion 15].
    """

    draft: Draft
    source: AddressSource | None = None
    degraded: dict[DegradeReason, int] = {}


class _Session(Struct):
    """A visitor's session while a batch is resolved: loaded once, its mark stored once."""

    key: str
    state: SessionState | None
    revision: int
    failure: DegradeReason | None = None
    corrupt: bool = False
    unsaved: int = 0


class SaltUnavailableError(Exception):
    """No salt can be had for a day; `reason` tells which drop it is."""

    def __init__(self, reason: DropReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class CookielessIdentities:
    """Gives cookieless events their visitor and session."""

    def __init__(
        self,
        store: EphemeralStore,
        *,
        clock: Clock,
        randomness: Randomness,
        make_session_id: Callable[[], str] = random_uuid,
    ) -> None:
        self._store = store
        self._clock = clock
        self._make_session_id = make_session_id
        self._salts = DailySalts(store, clock=clock, randomness=randomness)
        self._logged_at: dict[DegradeReason, float] = {}

    @property
    def salts(self) -> "DailySalts":
        """The salts of this process, for their cache counters."""
        return self._salts

    async def resolve(
        self, project_id: str, events: tuple[CheckedEvent, ...], facts: RequestFacts
    ) -> Resolution:
        """Give every cookieless event an identity or drop it; other events pass untouched.

        Raises InvalidInputError (`COOKIELESS_IDENTITY_UNAVAILABLE`) for the whole request when it
        has no user agent or no address; its field `source` names the address source.
        """
        if not any(event.cookieless for event in events):
            return Resolution(draft=Draft(events=events))
        address = find_client_address(facts)
        if not facts.user_agent or not address.text:
            raise InvalidInputError(
                IDENTITY_UNAVAILABLE,
                "cookieless events need a User-Agent header and a client address",
                fields={"source": address.source.value},
            )
        visitors: dict[date, str | DropReason] = {}
        sessions: dict[str, _Session] = {}
        degraded: Counter[DegradeReason] = Counter()
        dropped: Counter[DropReason] = Counter()
        kept: list[CheckedEvent] = []
        for event in events:
            if not event.cookieless:
                kept.append(event)
                continue
            day = day_of(event.occur_time_ms)
            if day not in visitors:
                visitors[day] = await self._visitor(project_id, day, address.text, facts.user_agent)
            visitor_id = visitors[day]
            if isinstance(visitor_id, DropReason):
                dropped[visitor_id] += 1
                continue
            if visitor_id not in sessions:
                sessions[visitor_id] = await self._load(project_id, visitor_id)
            session_id = await self._session(
                sessions[visitor_id], visitor_id, event.occur_time_ms, degraded
            )
            kept.append(replace(event, distinct_id=visitor_id, session_id=session_id))
        for session in sessions.values():
            await self._save_mark(session, degraded)
        self._tell(degraded)
        return Resolution(
            draft=Draft(events=tuple(kept), dropped=dict(dropped)),
            source=address.source,
            degraded=dict(degraded),
        )

    async def _visitor(
        self, project_id: str, day: date, address: str, user_agent: str
    ) -> str | DropReason:
        if not is_open_day(day, self._clock.now()):
            return DropReason.DAY_OUT_OF_RANGE
        try:
            salt = await self._salts.salt_of(day)
        except SaltUnavailableError as error:
            return error.reason
        return derive_visitor_id(salt, project_id, address, user_agent)

    async def _load(self, project_id: str, visitor_id: str) -> _Session:
        key = session_key(project_id, visitor_id)
        try:
            entry = await self._store.load(key)
        except ApplianceError:
            return _Session(key, None, 0, failure=DegradeReason.GET_FAILED)
        return _loaded(key, entry)

    async def _session(
        self,
        session: _Session,
        visitor_id: str,
        occur_time_ms: int,
        degraded: Counter[DegradeReason],
    ) -> str:
        for _ in range(_RACES_MAX):
            if session.failure is not None:
                break
            decision = decide_session(session.state, visitor_id, occur_time_ms)
            match decision:
                case Join(session_id=session_id, state=moved):
                    if moved is not None:
                        session.state = moved
                        session.unsaved += 1
                    return session_id
                case Begin():
                    begun = await self._begin(session, occur_time_ms, degraded)
                    if begun is not None:
                        return begun
                case _:
                    return decision.session_id
        degraded[session.failure or DegradeReason.WRITE_FAILED] += 1
        return fallback_session_id(visitor_id, occur_time_ms)

    async def _begin(
        self, session: _Session, occur_time_ms: int, degraded: Counter[DegradeReason]
    ) -> str | None:
        """Store a new session; None when another state turned up or the store failed."""
        fresh = SessionState(self._make_session_id(), occur_time_ms)
        is_first = session.revision == 0
        try:
            session.revision = await self._store.replace(
                session.key,
                encode_session(fresh),
                expected=session.revision,
                ttl_seconds=SESSION_STATE_SECONDS,
            )
        except ConflictError:
            await self._reload(session)
            return None
        except ApplianceError:
            session.failure = DegradeReason.MINT_FAILED if is_first else DegradeReason.WRITE_FAILED
            return None
        if session.corrupt:
            degraded[DegradeReason.CORRUPT_STATE] += 1
            session.corrupt = False
        session.state = fresh
        session.unsaved = 0
        return fresh.session_id

    async def _reload(self, session: _Session) -> None:
        try:
            entry = await self._store.load(session.key)
        except ApplianceError:
            session.failure = DegradeReason.GET_FAILED
            return
        found = _loaded(session.key, entry)
        session.state, session.revision = found.state, found.revision
        session.corrupt, session.unsaved = found.corrupt, 0

    async def _save_mark(self, session: _Session, degraded: Counter[DegradeReason]) -> None:
        """Store the latest instant once per batch; others' later marks stay [ingestion 4.5]."""
        for _ in range(_RACES_MAX):
            mark = session.state
            if mark is None or not session.unsaved:
                return
            try:
                session.revision = await self._store.replace(
                    session.key,
                    encode_session(mark),
                    expected=session.revision,
                    ttl_seconds=SESSION_STATE_SECONDS,
                )
            except ConflictError:
                unsaved = session.unsaved
                await self._reload(session)
                if session.failure is not None:
                    break
                if is_behind(session.state, mark):
                    session.state, session.unsaved = mark, unsaved
            except ApplianceError:
                break
            else:
                session.unsaved = 0
        if session.unsaved:
            degraded[DegradeReason.SLIDE_FAILED] += session.unsaved

    def _tell(self, degraded: Counter[DegradeReason]) -> None:
        now = self._clock.monotonic_seconds()
        for reason in degraded:
            if now - self._logged_at.get(reason, -_DEGRADE_LOG_SECONDS) >= _DEGRADE_LOG_SECONDS:
                self._logged_at[reason] = now
                _LOG.warning("cookieless_session_degraded", reason=reason.value)


class DailySalts:
    """The salts of today and yesterday: one per day for the whole deployment [ingestion 4.3].

    `hits` and `misses` count look-ups in this process's copy.
    """

    def __init__(self, store: EphemeralStore, *, clock: Clock, randomness: Randomness) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness
        self._kept: dict[date, bytes] = {}
        self.hits = 0
        self.misses = 0

    @property
    def days(self) -> tuple[date, ...]:
        """The days whose salts are in this process."""
        return tuple(self._kept)

    async def salt_of(self, day: date) -> bytes:
        """The salt of an open day; raises SaltUnavailableError when it cannot be had."""
        now = self._clock.now()
        self._kept = {kept: salt for kept, salt in self._kept.items() if is_open_day(kept, now)}
        seconds_left = salt_seconds_left(day, now)
        if seconds_left is None:
            raise SaltUnavailableError(DropReason.DAY_OUT_OF_RANGE)
        if day in self._kept:
            self.hits += 1
            return self._kept[day]
        self.misses += 1
        try:
            stored = await self._load_or_create(salt_key(day), max(1, int(seconds_left)))
        except ApplianceError as error:
            raise SaltUnavailableError(DropReason.SALT_UNAVAILABLE) from error
        salt = decode_salt(stored)
        if salt is None:
            raise SaltUnavailableError(DropReason.SALT_CORRUPT)
        self._kept[day] = salt
        return salt

    async def _load_or_create(self, key: str, ttl_seconds: int) -> bytes:
        entry = await self._store.load(key)
        if entry is None:
            made = encode_salt(self._randomness.token_bytes(SALT_BYTES))
            entry = await self._store.create(key, made, ttl_seconds=ttl_seconds)
            if entry is None:
                return made
        return entry.value


def is_behind(stored: SessionState | None, mark: SessionState) -> bool:
    """Whether a stored state is an earlier mark of the same session."""
    return (
        stored is not None
        and stored.session_id == mark.session_id
        and stored.last_ms < mark.last_ms
    )


def _loaded(key: str, entry: Entry | None) -> _Session:
    if entry is None:
        return _Session(key, None, 0)
    state = decode_session(entry.value)
    return _Session(key, state, entry.revision, corrupt=state is None)
