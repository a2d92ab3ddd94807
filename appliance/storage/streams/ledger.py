"""The queue's definitions: streams, durable consumers and buckets, made or brought up to date.

Invariant: a definition is applied by "make it, or change it to this", so a run killed anywhere is
finished by the next one and two runs at once end in the same place; the ledger line is written last
and only if nobody else wrote meanwhile. What the operator decides (retention, copies) is applied
at every run, not only when a file is fresh.
"""

from typing import Final

import msgspec
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    ReplayPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from appliance.base.errors import ConflictError
from appliance.base.units import Seconds
from appliance.config.endpoints import NatsEndpoint
from appliance.storage.schema import (
    Applied,
    Migration,
    MigrationReport,
    Progress,
    load_migrations,
    plan_migrations,
)
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.errors import stream_errors
from appliance.storage.streams.kv import LEDGER_BUCKET, Bucket

DUPLICATE_WINDOW_SECONDS: Final = 120.0
"""How long the server remembers message ids: about 100 bytes each in its memory. A client's retry
comes within seconds; a later one is found by the worker in the event store (decision 0002)."""

DELIVERIES_MAX: Final = 5
LEDGER_KEY: Final = "schema"
_ATTEMPTS_MAX: Final = 8


class StreamDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream: what it collects, and how large it may get; when full it refuses [storage 4]."""

    name: str
    subjects: tuple[str, ...]
    bytes_max: int = -1


class ConsumerDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A durable consumer [configuration 7]."""

    name: str
    stream: str
    subject: str | None = None
    ack_wait_seconds: int
    ack_pending_max: int


class BucketDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key-value bucket; one in memory never reaches a disk."""

    name: str
    memory: bool = False
    bytes_max: int


class Definitions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of definitions; a later file may define the same name anew."""

    streams: tuple[StreamDefinition, ...] = ()
    consumers: tuple[ConsumerDefinition, ...] = ()
    buckets: tuple[BucketDefinition, ...] = ()


async def migrate_nats(
    endpoint: NatsEndpoint, retention: Seconds, progress: Progress
) -> MigrationReport:
    """Bring the queue to the definitions of this release; run it as often as you like.

    Raises UnmetError when the queue is newer, DamagedError when an applied file changed.
    """
    known = load_migrations("appliance.storage.streams", "definitions")
    streams = Streams(endpoint, name="pug-migrate")
    try:
        jetstream = await streams.jetstream()
        with stream_errors():
            await _ensure_stream(jetstream, _bucket_config(_LEDGER_DEFINITION, endpoint.replicas))
        bucket = Bucket(streams, LEDGER_BUCKET)
        pending, _, _ = await _plan(bucket, known)
        for migration in pending:
            progress(migration.name)
        merged = merge_definitions(known)
        with stream_errors():
            await _apply(jetstream, merged, retention=retention, replicas=endpoint.replicas)
        await _record(bucket, known)
    finally:
        await streams.close()
    return MigrationReport(
        store="nats", applied=tuple(one.name for one in pending), version=len(known)
    )


def merge_definitions(files: tuple[Migration, ...]) -> Definitions:
    """What all files together define: of a name defined twice, the later one."""
    parsed = [msgspec.json.decode(file.text, type=Definitions) for file in files]
    return Definitions(
        streams=tuple({one.name: one for file in parsed for one in file.streams}.values()),
        consumers=tuple({one.name: one for file in parsed for one in file.consumers}.values()),
        buckets=tuple({one.name: one for file in parsed for one in file.buckets}.values()),
    )


async def _plan(
    bucket: Bucket, known: tuple[Migration, ...]
) -> tuple[tuple[Migration, ...], tuple[Applied, ...], int]:
    entry = await bucket.load(LEDGER_KEY)
    applied = (
        msgspec.json.decode(entry.value, type=tuple[Applied, ...]) if entry is not None else ()
    )
    pending = plan_migrations("NATS", known, applied)
    return pending, applied, entry.revision if entry is not None else 0


async def _record(bucket: Bucket, known: tuple[Migration, ...]) -> None:
    for _ in range(_ATTEMPTS_MAX):
        pending, applied, revision = await _plan(bucket, known)
        if not pending:
            return
        lines = applied + tuple(
            Applied(version=one.version, name=one.name, checksum=one.checksum) for one in pending
        )
        try:
            await bucket.replace(LEDGER_KEY, msgspec.json.encode(lines), expected=revision)
        except ConflictError:
            continue
        return
    raise ConflictError("ABORTED", "the ledger of the queue keeps changing")


async def _apply(
    jetstream: JetStreamContext, wanted: Definitions, *, retention: Seconds, replicas: int
) -> None:
    for stream in wanted.streams:
        await _ensure_stream(jetstream, _stream_config(stream, retention, replicas))
    for bucket in wanted.buckets:
        await _ensure_stream(jetstream, _bucket_config(bucket, replicas))
    for consumer in wanted.consumers:
        await jetstream.add_consumer(  # pyright: ignore[reportUnknownMemberType] half-typed driver
            consumer.stream, _consumer_config(consumer)
        )


async def _ensure_stream(jetstream: JetStreamContext, config: StreamConfig) -> None:
    try:
        await jetstream.update_stream(config)  # pyright: ignore[reportUnknownMemberType] half-typed driver
    except NotFoundError:
        await jetstream.add_stream(config)  # pyright: ignore[reportUnknownMemberType] half-typed driver


def _stream_config(stream: StreamDefinition, retention: Seconds, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_age=float(retention),
        max_bytes=stream.bytes_max,
        max_msgs=-1,
        max_consumers=-1,
        duplicate_window=min(DUPLICATE_WINDOW_SECONDS, float(retention)),
        num_replicas=replicas,
        allow_direct=True,
    )


def _bucket_config(bucket: BucketDefinition, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=f"KV_{bucket.name}",
        subjects=[f"$KV.{bucket.name}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.MEMORY if bucket.memory else StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        max_bytes=bucket.bytes_max,
        max_msgs=-1,
        max_consumers=-1,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
        num_replicas=1 if bucket.memory else replicas,
        allow_rollup_hdrs=True,
        allow_direct=True,
        allow_msg_ttl=True,
        deny_delete=True,
    )


def _consumer_config(consumer: ConsumerDefinition) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=consumer.name,
        name=consumer.name,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        replay_policy=ReplayPolicy.INSTANT,
        filter_subject=consumer.subject,
        ack_wait=float(consumer.ack_wait_seconds),
        max_deliver=DELIVERIES_MAX,
        max_ack_pending=consumer.ack_pending_max,
    )


_LEDGER_DEFINITION: Final = BucketDefinition(name=LEDGER_BUCKET, bytes_max=64 << 20)
