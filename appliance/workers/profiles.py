"""The workers of people: naming persons, and writing the read side [profiles 2.2, 2.4].

Invariant: each message may come more than once and in any order, the outcome is the same: the
write side keeps the latest value, the read side the greatest version. What a call means is decided
in `services/merging.py`; retries and dead letters are the frame's business, see `queue.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.base.tasks import wait
from appliance.config.model import Settings
from appliance.domain.people.messages import (
    read_alias,
    read_identification,
    read_state,
)
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.gen.workers.profiles.v1.profiles_pb import ProfileAliasMessage, ProfileUpsertMessage
from appliance.services.merging import Merging
from appliance.services.replay import Replay, Stretch
from appliance.services.schema_rules import AnyMessage, read_message
from appliance.services.stores import Stores
from appliance.storage.clickhouse.profiles_write import ProfileInserts
from appliance.storage.streams.deadletters import DeadLetters
from appliance.storage.streams.people import (
    ALIAS_DURABLE,
    ALIAS_SUBJECT,
    IDENTIFY_DURABLE,
    IDENTIFY_SUBJECT,
    PROFILES_STREAM,
    UPSERT_DURABLE,
    UPSERT_SUBJECT,
)
from appliance.storage.streams.work import WorkSource
from appliance.workers.duty import Duty
from appliance.workers.gather import Gathering
from appliance.workers.queue import FETCH_PAUSE_SECONDS, Limits, QueueWorker, Work
from appliance.workers.state import WorkerState

IDENTIFY_WORKER: Final = "identify"
ALIAS_WORKER: Final = "alias"
UPSERT_WORKER: Final = "upsert"
SECONDS_MAX: Final = 25.0
IDENTIFY_PARALLEL: Final = 16
"""Twice the connections of a pool: the others publish meanwhile. More would only wait."""
WRITE_PARALLEL: Final = 500
"""They wait for the same write, see `gather.py`."""

Value = TypeVar("Value")


class IdentifyWork:
    """Carries out calls that name a person."""

    def __init__(self, merging: Merging, clock: Clock) -> None:
        self._merging = merging
        self._clock = clock

    @property
    def name(self) -> str:
        return IDENTIFY_WORKER

    async def handle(self, payload: bytes, /) -> None:
        """Do what the call asks for."""
        message = read_message(ProfileIdentifyMessage, payload)
        await self._merging.apply(read_identification(message, now=self._clock.now()))

    def labels(self, payload: bytes, /) -> Mapping[str, str]:
        """The project, as far as it can be read."""
        return _labels(ProfileIdentifyMessage, payload)

    def kept(self, payload: bytes, /) -> bytes:
        """The whole call: it can be handled again."""
        return payload


class WriteWork:
    """Adds rows to the read side; `read` makes one of a payload."""

    def __init__(
        self,
        name: str,
        write: Callable[[bytes], Awaitable[None]],
        labels: Callable[[bytes], Mapping[str, str]],
    ) -> None:
        self._name = name
        self._write = write
        self._labels = labels

    @property
    def name(self) -> str:
        return self._name

    async def handle(self, payload: bytes, /) -> None:
        """Have the row stored."""
        await self._write(payload)

    def labels(self, payload: bytes, /) -> Mapping[str, str]:
        """Project and profile, as far as they can be read."""
        return self._labels(payload)

    def kept(self, payload: bytes, /) -> bytes:
        """The whole message: it can be handled again."""
        return payload


class Place(Struct, frozen=True, kw_only=True):
    """Where a worker takes its messages."""

    name: str
    subject: str
    durable: str


_IDENTIFY: Final = Place(name=IDENTIFY_WORKER, subject=IDENTIFY_SUBJECT, durable=IDENTIFY_DURABLE)
_ALIAS: Final = Place(name=ALIAS_WORKER, subject=ALIAS_SUBJECT, durable=ALIAS_DURABLE)
_UPSERT: Final = Place(name=UPSERT_WORKER, subject=UPSERT_SUBJECT, durable=UPSERT_DURABLE)


class Rows(Struct, Generic[AnyMessage, Value], frozen=True, kw_only=True):
    """What a worker writes: rows that are `read` from messages of a `kind`, then added."""

    place: Place
    kind: type[AnyMessage]
    read: Callable[[AnyMessage], Value]
    add: Callable[[ProfileInserts, Sequence[Value]], Awaitable[None]]


_ALIASES: Final = Rows(
    place=_ALIAS, kind=ProfileAliasMessage, read=read_alias, add=ProfileInserts.add_aliases
)
_STATES: Final = Rows(
    place=_UPSERT, kind=ProfileUpsertMessage, read=read_state, add=ProfileInserts.add_states
)


def profile_duties(stores: Stores, settings: Settings, clock: Clock) -> tuple[Duty, ...]:
    """The workers `identify`, `alias` and `upsert`."""
    del settings  # nothing of these workers can be set
    return (
        identify_duty(stores, clock),
        alias_duty(stores, clock),
        upsert_duty(stores, clock),
    )


def identify_duty(stores: Stores, clock: Clock) -> Duty:
    """Carries out calls that name a person."""
    state = _state(_IDENTIFY)

    async def run(stop: asyncio.Event) -> None:
        merging = Merging(stores, clock)
        worker = _worker(
            _IDENTIFY, stores, clock, state, IdentifyWork(merging, clock), IDENTIFY_PARALLEL
        )
        replay = Replay(stores, merging, clock)
        stretch = await _planned(replay, state, stop)
        if stretch is None:
            return
        async with asyncio.TaskGroup() as group:
            replaying = group.create_task(replay.run(stretch, stop))
            try:
                await worker.run(stop)
            finally:
                replaying.cancel()

    return Duty(state=state, run=run)


def alias_duty(stores: Stores, clock: Clock) -> Duty:
    """Writes which distinct id belongs to whom."""
    return _write_duty(stores, clock, _ALIASES)


def upsert_duty(stores: Stores, clock: Clock) -> Duty:
    """Writes what profiles are."""
    return _write_duty(stores, clock, _STATES)


def _write_duty(stores: Stores, clock: Clock, rows: Rows[AnyMessage, Value]) -> Duty:
    state = _state(rows.place)

    async def run(stop: asyncio.Event) -> None:
        gathering = Gathering[Value](partial(rows.add, ProfileInserts(stores.clickhouse)))

        async def write(payload: bytes) -> None:
            await gathering.put(rows.read(read_message(rows.kind, payload)))

        def labels(payload: bytes) -> Mapping[str, str]:
            return _labels(rows.kind, payload)

        work = WriteWork(rows.place.name, write, labels)
        worker = _worker(rows.place, stores, clock, state, work, WRITE_PARALLEL)
        await _run_gathering(worker, gathering, stop)

    return Duty(state=state, run=run)


async def _planned(replay: Replay, state: WorkerState, stop: asyncio.Event) -> Stretch | None:
    """What to handle again; asked until the stores answer, None when told to stop before."""
    while not stop.is_set():
        try:
            return await replay.plan()
        except ApplianceError as error:
            state.pause = error.reason
            await wait(stop, FETCH_PAUSE_SECONDS)
    return None


async def _run_gathering(
    worker: QueueWorker, gathering: Gathering[Value], stop: asyncio.Event
) -> None:
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(gathering.run())
        try:
            await worker.run(stop)
        finally:
            writing.cancel()


def _state(place: Place) -> WorkerState:
    return WorkerState(name=place.name, stream=PROFILES_STREAM, consumer=place.durable)


def _worker(
    place: Place, stores: Stores, clock: Clock, state: WorkerState, work: Work, parallel: int
) -> QueueWorker:
    return QueueWorker(
        WorkSource(
            stores.streams,
            clock,
            stream=PROFILES_STREAM,
            durable=place.durable,
            subject=place.subject,
        ),
        work,
        DeadLetters(stores.streams),
        limits=Limits(parallel=parallel, seconds_max=SECONDS_MAX),
        state=state,
        clock=clock,
    )


def _labels(kind: type[AnyMessage], payload: bytes) -> Mapping[str, str]:
    try:
        message = read_message(kind, payload)
    except InvalidInputError:
        return {}
    labels = {"project_id": str(getattr(message, "project_id", ""))}
    profile_id = str(getattr(message, "profile_id", ""))
    return labels | ({"profile_id": profile_id} if profile_id else {})
