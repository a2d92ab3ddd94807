"""The queue: what waits, for how long, and what can never be stored.

Invariant: our own server is asked with the password of its file; an external one is not ours to
judge, and only its address is known.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import ApplianceError
from appliance.config.endpoints import LOOPBACK
from appliance.engines.http_door import http_get
from appliance.engines.nats import EVENTS_CONSUMER, EVENTS_STREAM, USER
from appliance.engines.nats_wire import NatsDoor, ask_nats
from appliance.lifecycle.doctor.facts import QueueFacts, StreamFacts
from appliance.lifecycle.doctor.gathering.probing import in_thread, look_again, read_text
from appliance.lifecycle.doctor.gathering.scene import Scene

_ANSWER_SECONDS_MAX: Final = 6.0
_CONFIG_SECONDS_MAX: Final = 1.0
_WORKER_LOOKS_MAX: Final = 16
_WORKER_LOOK_SECONDS: Final = 0.2
"""A worker is away for a moment between two fetches, and longer after a lost connection."""
_NANOSECONDS: Final = 9
_NO_MESSAGE: Final = 10037
"""JetStream's code for a sequence without a message."""


class _Problem(msgspec.Struct, frozen=True, kw_only=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _StreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    max_bytes: int = -1
    num_replicas: int = 1


class _StreamState(msgspec.Struct, frozen=True, kw_only=True):
    messages: int = 0
    bytes: int = 0


class _Stream(msgspec.Struct, frozen=True, kw_only=True):
    config: _StreamConfig
    state: _StreamState


class _Streams(msgspec.Struct, frozen=True, kw_only=True):
    streams: tuple[_Stream, ...] | None = ()
    error: _Problem | None = None


class _Position(msgspec.Struct, frozen=True, kw_only=True):
    stream_seq: int = 0


class _Consumer(msgspec.Struct, frozen=True, kw_only=True):
    num_pending: int = 0
    num_ack_pending: int = 0
    num_redelivered: int = 0
    num_waiting: int = 0
    ack_floor: _Position = _Position()
    error: _Problem | None = None


class _Limits(msgspec.Struct, frozen=True, kw_only=True):
    max_storage: int = 0


class _Account(msgspec.Struct, frozen=True, kw_only=True):
    storage: int = 0
    limits: _Limits = _Limits()
    error: _Problem | None = None


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    time: str = ""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    message: _Message | None = None
    error: _Problem | None = None


class _StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    sync_always: bool | None = None
    max_storage: int = 0


class _Store(msgspec.Struct, frozen=True, kw_only=True):
    config: _StoreConfig | None = None


async def gather_queue(scene: Scene) -> QueueFacts:
    """What the queue says about itself."""
    try:
        endpoint = await scene.nats()
    except ApplianceError as error:
        return QueueFacts(error=error.message)
    if endpoint.external or endpoint.password is None:
        return QueueFacts(external=True)
    door = NatsDoor(
        host=LOOPBACK, port=(await scene.ports()).nats, user=USER, password=endpoint.password
    )
    store = await _store(scene)
    synced = store.sync_always if store is not None else None
    if synced is None:
        synced = await in_thread(lambda: _synced_by_file(scene.folders.nats / "nats.conf"))
    try:
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            return await _ask(scene, door, synced, store.max_storage if store else 0)
    except TimeoutError:
        return QueueFacts(error="it does not answer in time", synced_always=synced)
    except (OSError, EOFError, ApplianceError, msgspec.DecodeError) as error:
        return QueueFacts(error=_said(error), synced_always=synced)


async def _ask(scene: Scene, door: NatsDoor, synced: bool | None, limit: int) -> QueueFacts:  # noqa: FBT001 passed on
    listed, worker, account = await asyncio.gather(
        ask_nats(door, "$JS.API.STREAM.LIST"),
        _worker(door),
        ask_nats(door, "$JS.API.INFO"),
    )
    streams = msgspec.json.decode(listed, type=_Streams)
    used = msgspec.json.decode(account, type=_Account)
    found = worker.error is None
    return QueueFacts(
        streams=tuple(
            StreamFacts(
                name=one.config.name,
                messages=one.state.messages,
                bytes=one.state.bytes,
                bytes_max=max(one.config.max_bytes, 0),
                replicas=one.config.num_replicas,
            )
            for one in streams.streams or ()
        ),
        waiting=worker.num_pending if found else None,
        in_work=worker.num_ack_pending,
        redelivered=worker.num_redelivered,
        oldest_seconds=await _oldest(scene, door, worker) if found else None,
        worker_connected=_is_served(worker) if found else None,
        store_bytes=used.storage,
        store_bytes_max=max(used.limits.max_storage, limit, 0),
        synced_always=synced,
    )


async def _worker(door: NatsDoor) -> _Consumer:
    """The consumer of events; looked at again while nobody fetches, so that a gap is no alarm."""
    subject = f"$JS.API.CONSUMER.INFO.{EVENTS_STREAM}.{EVENTS_CONSUMER}"

    async def look() -> _Consumer:
        return msgspec.json.decode(await ask_nats(door, subject), type=_Consumer)

    return await look_again(
        look,
        lambda worker: worker.error is not None or _is_served(worker),
        looks_max=_WORKER_LOOKS_MAX,
        pause_seconds=_WORKER_LOOK_SECONDS,
    )


def _is_served(worker: _Consumer) -> bool:
    return worker.num_waiting > 0 or worker.num_ack_pending > 0


async def _oldest(scene: Scene, door: NatsDoor, worker: _Consumer) -> float | None:
    """How long the first message that is not stored yet has waited."""
    if not worker.num_pending + worker.num_ack_pending:
        return 0.0
    question = msgspec.json.encode({"next_by_subj": ">", "seq": worker.ack_floor.stream_seq + 1})
    told = await ask_nats(door, f"$JS.API.STREAM.MSG.GET.{EVENTS_STREAM}", question)
    answer = msgspec.json.decode(told, type=_Answer)
    if answer.message is None or answer.error is not None:
        return None
    arrived = parse_instant(answer.message.time)
    return max((scene.clock.now() - arrived).total_seconds(), 0.0) if arrived else None


def parse_instant(text: str) -> datetime | None:
    """An instant with up to nanoseconds, as JetStream writes it."""
    head, _, tail = text.partition(".")
    digits = "".join(letter for letter in tail[:_NANOSECONDS] if letter.isdecimal())
    whole = head if not digits else f"{head}.{digits[:6]:0<6}"
    try:
        return datetime.fromisoformat(whole.rstrip("Z")).replace(tzinfo=UTC)
    except ValueError:
        return None


async def _store(scene: Scene) -> _StoreConfig | None:
    """The server's settings as it runs; only where its monitoring can be reached."""
    try:
        async with asyncio.timeout(_CONFIG_SECONDS_MAX):
            port = (await scene.ports()).nats_monitor
            told = await http_get(LOOPBACK, port, "/jsz?config=true")
        return msgspec.json.decode(told.body, type=_Store).config
    except (OSError, EOFError, ApplianceError, msgspec.DecodeError):
        return None


def _synced_by_file(path: Path) -> bool | None:
    text = read_text(path)
    if not text:
        return None
    words = [line.split() for line in text.splitlines()]
    return ["sync_interval:", "always"] in words


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
