"""Reads one stream as a log through its durable consumer.

Invariant: messages come in the order of the stream, each sequence once, from the sequence given to
`open` on. The durable consumer is set back to that sequence instead of waiting for redelivery, so a
restarted worker goes on at once, while its acknowledgements keep the lag visible to operators.
Every delivery of the consumer is numbered, so a message that went to another reader shows as a
gap: then the reader refuses to go on and must be opened anew, instead of passing over a message.
What is fetched and not yet taken is bounded in bytes and messages.
"""

import asyncio
from collections import deque
from typing import Final

import msgspec
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError

from appliance.base.clock import Clock
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.errors import schema_missing, stream_errors, unavailable

PULL_MESSAGES_MAX: Final = 2000
PULL_BYTES_MAX: Final = 32 << 20
HELD_MESSAGES_MAX: Final = 4000
PULL_EXPIRES_SECONDS: Final = 2.0
SILENCE_SECONDS_MAX: Final = 6.0
_NANOSECONDS: Final = 1_000_000_000
_STATUS_HEADER: Final = "Status"
_NOT_FOUND: Final = 404


class Delivery(Struct, frozen=True, kw_only=True):
    """One message of the stream; `queued_at` is when the queue took it, in Unix seconds."""

    sequence: int
    queued_at: float
    subject: str
    payload: bytes
    headers: dict[str, str]
    reply: str


class Lag(Struct, frozen=True, kw_only=True):
    """How far the consumer is behind."""

    pending: int
    unacknowledged: int


class Spare(Struct, frozen=True, kw_only=True):
    """Messages that somebody may want to replay: from `first` on, up to so many bytes."""

    first: int
    bytes_max: int


class LogReader:
    """Pulls messages of one durable consumer, in order; one reader a consumer."""

    def __init__(self, streams: Streams, clock: Clock, *, stream: str, durable: str) -> None:
        self._streams = streams
        self._clock = clock
        self._stream = stream
        self._durable = durable
        self._held: deque[Delivery] = deque()
        self._held_bytes = 0
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self._last = 0
        self._delivered = 0
        self._gap = False
        self._delivered_since_ask = False
        self._asked = 0
        self._asked_on = 0
        self._heard_at = 0.0

    async def open(self, first: int) -> None:
        """Start at sequence `first`, or at the oldest message kept when that is gone.

        Raises UnavailableError when the queue does not answer or was not migrated.
        """
        await self._unsubscribe()
        self._held.clear()
        self._held_bytes = 0
        self._last = first - 1
        self._delivered = 0
        self._gap = False
        client = await self._streams.client()
        jetstream = await self._streams.jetstream()
        with stream_errors():
            try:
                await jetstream.reset_consumer(self._stream, self._durable, seq=max(first, 1))
            except APIError as error:
                if error.code == _NOT_FOUND:
                    raise schema_missing() from error
                raise
            self._subscription = await client.subscribe(  # pyright: ignore[reportUnknownMemberType] half-typed driver
                client.new_inbox(),
                cb=self._receive,
                pending_msgs_limit=HELD_MESSAGES_MAX + PULL_MESSAGES_MAX + 16,
                pending_bytes_limit=4 * PULL_BYTES_MAX,
            )
        await self._ask()

    async def close(self) -> None:
        """Stop pulling; what is held and not acknowledged is delivered again to the next reader."""
        await self._unsubscribe()
        self._held.clear()

    async def next(self, *, wait_seconds: float) -> Delivery | None:
        """The next message, or None when none came in time.

        Raises UnavailableError when the server has been silent for too long.
        """
        if not self._held:
            self._arrived.clear()
            await self._check_connection()
            if self._asked <= 0:
                await self._check_others()
                await self._ask_if_needed()
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                self._check_silence()
                return None
            await self._check_connection()
        if not self._held:
            return None
        delivery = self._held.popleft()
        self._held_bytes -= len(delivery.payload)
        await self._ask_if_needed()
        return delivery

    async def has_more(self, *, after: int, last: int) -> bool:
        """Whether the stream holds a message after `after` and not after `last`."""
        jetstream = await self._streams.jetstream()
        with stream_errors():
            try:
                found = await jetstream.get_msg(self._stream, seq=after + 1, subject=">", next=True)
            except NotFoundError:
                return False
        return found.seq is not None and found.seq <= last

    async def acknowledge(self, replies: list[str]) -> None:
        """Tell the server that these messages are done; losing this costs nothing but lag shown."""
        client = await self._streams.client()
        with stream_errors():
            for reply in replies:
                await client.publish(reply, b"+ACK")

    async def trim(self, *, done: int, bytes_max: int, spare: Spare | None = None) -> int:
        """Remove the oldest messages up to `done` while the stream is larger than `bytes_max`.

        What is stored in the event store is kept only for replaying; without this a busy stream
        would fill its disk long before its messages are old, and then refuse events. What `spare`
        names stays as long as the stream fits its own limit. Returns how many messages went.
        """
        jetstream = await self._streams.jetstream()
        with stream_errors():
            state = (await jetstream.stream_info(self._stream)).state
            if state.bytes <= bytes_max or not state.messages:
                return 0
            kept = state.messages * (bytes_max - bytes_max // 4) // state.bytes
            first_kept = min(done + 1, state.last_seq - kept + 1)
            if spare is not None and state.bytes <= spare.bytes_max:
                first_kept = min(first_kept, spare.first)
            if first_kept <= state.first_seq:
                return 0
            await jetstream.purge_stream(self._stream, seq=first_kept)
        return first_kept - state.first_seq

    async def lag(self) -> Lag:
        """How many messages wait, and how many are in work."""
        jetstream = await self._streams.jetstream()
        with stream_errors():
            told = await jetstream.consumer_info(self._stream, self._durable)
        return Lag(pending=told.num_pending or 0, unacknowledged=told.num_ack_pending or 0)

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        try:
            await subscription.unsubscribe()
        except NatsError:
            return  # the connection that knew it is gone

    async def _receive(self, message: Msg) -> None:
        self._heard_at = self._clock.monotonic_seconds()
        headers = message.headers or {}
        if _STATUS_HEADER in headers and not message.data:
            self._asked = 0
        else:
            self._asked -= 1
            metadata = message.metadata
            told = metadata.sequence
            sequence = told.stream
            self._gap = self._gap or told.consumer != self._delivered + 1
            self._delivered = told.consumer
            self._delivered_since_ask = True
            if self._gap:
                self._arrived.set()
                return
            if sequence > self._last:
                self._last = sequence
                self._held.append(
                    Delivery(
                        sequence=sequence,
                        queued_at=metadata.timestamp.timestamp(),
                        subject=message.subject,
                        payload=message.data,
                        headers=dict(headers),
                        reply=message.reply,
                    )
                )
                self._held_bytes += len(message.data)
        self._arrived.set()

    async def _ask_if_needed(self) -> None:
        roomy = self._held_bytes < PULL_BYTES_MAX and len(self._held) < HELD_MESSAGES_MAX
        if self._asked <= 0 and roomy:
            await self._ask()

    async def _ask(self) -> None:
        client = await self._streams.client()
        if self._subscription is None:
            raise unavailable()
        request = _PullRequest(
            batch=PULL_MESSAGES_MAX,
            max_bytes=PULL_BYTES_MAX,
            expires=int(PULL_EXPIRES_SECONDS * _NANOSECONDS),
        )
        self._asked = PULL_MESSAGES_MAX
        self._asked_on = _connections(client)
        self._heard_at = self._clock.monotonic_seconds()
        with stream_errors():
            await client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}",
                msgspec.json.encode(request),
                reply=self._subscription.subject,
            )

    async def _check_connection(self) -> None:
        """A pull does not survive its connection, and a gap means that somebody else pulls."""
        if self._gap or _connections(await self._streams.client()) != self._asked_on:
            raise unavailable()

    async def _check_others(self) -> None:
        """Notice what was delivered to somebody else although nothing is delivered here."""
        if not self._delivered_since_ask:
            jetstream = await self._streams.jetstream()
            with stream_errors():
                told = await jetstream.consumer_info(self._stream, self._durable)
            delivered = told.delivered.consumer_seq if told.delivered is not None else 0
            if delivered != self._delivered and not self._held:
                raise unavailable()
        self._delivered_since_ask = False

    def _check_silence(self) -> None:
        """A pull is answered within its expiry; longer silence means that it was lost."""
        if self._clock.monotonic_seconds() - self._heard_at > SILENCE_SECONDS_MAX:
            raise unavailable()


class _PullRequest(Struct, frozen=True, kw_only=True):
    batch: int
    max_bytes: int
    expires: int


def _connections(client: Client) -> int:
    """A number that changes with every reconnect."""
    return client.stats["reconnects"]
