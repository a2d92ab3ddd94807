"""How full the queue is, how much waits in it, and since when.

Invariant: only questions are asked here; each has the driver's bound on waiting. A message waits as
long as its consumer has not acknowledged it; its age counts from the moment the queue took it.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from appliance.storage.streams.connection import Streams
from appliance.storage.streams.deadletters import DEAD_STREAM_PREFIX
from appliance.storage.streams.errors import stream_errors

CONSUMERS: Final = (
    ("events", "events-writer-durable"),
    ("profiles", "profile-identify-processor-durable"),
    ("profiles", "profile-alias-processor-durable"),
    ("profiles", "profile-upsert-processor-durable"),
    ("compliance", "compliance-erase-processor-durable"),
    ("misc", "misc-email-processor"),
)
"""Every stream with those who take from it [configuration 7]."""


class StreamSize(Struct, frozen=True, kw_only=True):
    """Bytes of a stream, the bound it has itself, and that of the account; None for none."""

    bytes: int
    bytes_max: int | None
    account_bytes_max: int | None


class Waiting(Struct, frozen=True, kw_only=True):
    """Messages that a consumer has not acknowledged; `oldest_at` is None when there are none."""

    stream: str
    consumer: str
    messages: int
    oldest_at: datetime | None


class Stored(Struct, frozen=True, kw_only=True):
    """Messages and bytes of a stream, those that were handled and stay for replaying included."""

    stream: str
    messages: int
    bytes: int


async def load_stream_size(streams: Streams, name: str) -> StreamSize:
    """How large a stream is and may get; raises UnavailableError."""
    jetstream = await streams.jetstream()
    with stream_errors():
        info = await jetstream.stream_info(name)
        account = await jetstream.account_info()
    return StreamSize(
        bytes=info.state.bytes,
        bytes_max=_bound(info.config.max_bytes),
        account_bytes_max=_bound(account.limits.max_storage),
    )


async def load_waiting(streams: Streams) -> tuple[Waiting, ...]:
    """What waits for each consumer; raises UnavailableError."""
    jetstream = await streams.jetstream()
    with stream_errors():
        return tuple([await _waiting(jetstream, *names) for names in CONSUMERS])


async def load_stored(streams: Streams) -> tuple[Stored, ...]:
    """Every stream that work goes through, and its dead letters; raises UnavailableError."""
    jetstream = await streams.jetstream()
    found: list[Stored] = []
    with stream_errors():
        for stream in dict.fromkeys(stream for stream, _ in CONSUMERS):
            for name in (stream, DEAD_STREAM_PREFIX + stream):
                state = (await jetstream.stream_info(name)).state
                found.append(Stored(stream=name, messages=state.messages, bytes=state.bytes))
    return tuple(found)


async def _waiting(jetstream: JetStreamContext, stream: str, consumer: str) -> Waiting:
    told = await jetstream.consumer_info(stream, consumer)
    messages = (told.num_pending or 0) + (told.num_ack_pending or 0)
    oldest_at = None
    if messages:
        settled = told.ack_floor.stream_seq if told.ack_floor is not None else 0
        subject = told.config.filter_subject or ">"
        try:
            message = await jetstream.get_msg(stream, seq=settled + 1, subject=subject, next=True)
        except NotFoundError:
            messages = 0  # handled since
        else:
            oldest_at = message.time
    return Waiting(stream=stream, consumer=consumer, messages=messages, oldest_at=oldest_at)


def _bound(number: int | None) -> int | None:
    return number if number is not None and number > 0 else None
