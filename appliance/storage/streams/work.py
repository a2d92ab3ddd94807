"""Takes messages of a durable consumer one by one, each to be settled on its own [workers 1].

Invariant: never more messages are asked for than somebody waits to handle, so the server's clock
for a message starts when its handler does. A pull that was lost, with the connection or in
silence, is noticed and asked for again; the messages it may have carried come once more.
"""

import asyncio
from collections import deque
from typing import Final

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NotJSMessageError
from nats.js.errors import NotFoundError

from appliance.base.clock import Clock
from appliance.storage.streams.connection import REQUEST_SECONDS_MAX, Streams
from appliance.storage.streams.errors import schema_missing, stream_errors, unavailable

PULL_EXPIRES_SECONDS: Final = 5.0
SILENCE_SECONDS_MAX: Final = 9.0
_NANOSECONDS: Final = 1_000_000_000
_STATUS_HEADER: Final = "Status"
_GONE: Final = frozenset({"404", "503"})
_CONSUMER_DELETED: Final = "deleted"


class WorkItem(Struct, frozen=True, kw_only=True):
    """A message to be handled; the numbers are None when the server's were unreadable.

    `queued_at` is when the queue took it, in Unix seconds.
    """

    subject: str
    payload: bytes
    headers: dict[str, str]
    reply: str
    sequence: int | None
    delivery: int | None
    queued_at: float | None = None


class WorkSource:
    """One durable consumer of one stream; several processes may share it."""

    def __init__(
        self, streams: Streams, clock: Clock, *, stream: str, durable: str, subject: str
    ) -> None:
        self._streams = streams
        self._clock = clock
        self.stream = stream
        self.durable = durable
        self.subject = subject
        self._held: deque[WorkItem] = deque()
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self._lost = ""
        self._asked = 0
        self._reconnects = 0
        self._heard_at = 0.0

    async def open(self) -> None:
        """Start taking; raises UnavailableError when the queue is away or was not migrated."""
        await self.close()
        client = await self._streams.client()
        jetstream = await self._streams.jetstream()
        with stream_errors():
            try:
                await jetstream.consumer_info(self.stream, self.durable)
            except NotFoundError as error:
                raise schema_missing() from error
            self._subscription = await client.subscribe(  # pyright: ignore[reportUnknownMemberType] half-typed driver
                client.new_inbox(), cb=self._receive
            )
        self._reconnects = client.stats["reconnects"]

    async def close(self) -> None:
        """Stop taking; what was not settled comes again to the next one who asks."""
        subscription, self._subscription = self._subscription, None
        self._held.clear()
        self._asked = 0
        self._lost = ""
        if subscription is None:
            return
        try:
            await subscription.unsubscribe()
        except NatsError:
            return  # the connection that knew it is gone

    async def next(self, *, free: int, wait_seconds: float) -> WorkItem | None:
        """A message, or None when none came in time; `free` is how many could be handled now.

        Raises UnavailableError when the connection or the pull is lost: then `open` again.
        """
        await self._check()
        if self._asked == 0 and free > len(self._held):
            await self._ask(free - len(self._held))
        if not self._held:
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        return self._held.popleft() if self._held else None

    async def done(self, item: WorkItem) -> None:
        """The message is handled; the server has confirmed that it knows."""
        client = await self._streams.client()
        with stream_errors():
            await client.request(item.reply, b"+ACK", timeout=REQUEST_SECONDS_MAX)

    async def later(self, item: WorkItem, *, seconds: float) -> None:
        """Deliver the message again after a while."""
        delay = msgspec.json.encode({"delay": int(seconds * _NANOSECONDS)})
        await self._answer(item, b"-NAK " + delay)

    async def never(self, item: WorkItem) -> None:
        """Do not deliver the message again."""
        await self._answer(item, b"+TERM")

    async def forget(self, item: WorkItem) -> None:
        """Remove the message from the stream; its bytes are overwritten."""
        if item.sequence is None:
            return
        jetstream = await self._streams.jetstream()
        with stream_errors():
            try:
                await jetstream.delete_msg(self.stream, item.sequence)
            except NotFoundError:
                return

    async def forget_settled(self) -> int:
        """Remove what was settled and is still there, after a crash for example; how many."""
        jetstream = await self._streams.jetstream()
        with stream_errors():
            told = await jetstream.consumer_info(self.stream, self.durable)
            floor = told.ack_floor.stream_seq if told.ack_floor is not None else 0
            if not floor:
                return 0
            before = (await jetstream.stream_info(self.stream)).state.messages
            await jetstream.purge_stream(self.stream, seq=floor + 1, subject=self.subject)
            after = (await jetstream.stream_info(self.stream)).state.messages
        return max(0, before - after)

    async def _answer(self, item: WorkItem, word: bytes) -> None:
        client = await self._streams.client()
        with stream_errors():
            await client.publish(item.reply, word)
            await client.flush(timeout=int(REQUEST_SECONDS_MAX))

    async def _check(self) -> None:
        """A pull does not survive its connection, and is answered within its expiry."""
        client = await self._streams.client()
        if self._lost or client.stats["reconnects"] != self._reconnects:
            raise unavailable()
        silent = self._clock.monotonic_seconds() - self._heard_at
        if self._subscription is None or (self._asked and silent > SILENCE_SECONDS_MAX):
            raise unavailable()

    async def _ask(self, count: int) -> None:
        client = await self._streams.client()
        if self._subscription is None:
            raise unavailable()
        self._asked = count
        self._heard_at = self._clock.monotonic_seconds()
        request = {"batch": count, "expires": int(PULL_EXPIRES_SECONDS * _NANOSECONDS)}
        with stream_errors():
            await client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.durable}",
                msgspec.json.encode(request),
                reply=self._subscription.subject,
            )

    async def _receive(self, message: Msg) -> None:
        self._heard_at = self._clock.monotonic_seconds()
        headers = dict(message.headers or {})
        status = headers.get(_STATUS_HEADER)
        if status is not None and not message.data:
            self._asked = 0
            described = headers.get("Description", "").lower()
            if status in _GONE or _CONSUMER_DELETED in described:
                self._lost = status
        else:
            self._asked = max(0, self._asked - 1)
            sequence, delivery, queued_at = _numbers(message)
            self._held.append(
                WorkItem(
                    subject=message.subject,
                    payload=message.data,
                    headers=headers,
                    reply=message.reply,
                    sequence=sequence,
                    delivery=delivery,
                    queued_at=queued_at,
                )
            )
        self._arrived.set()


def _numbers(message: Msg) -> tuple[int | None, int | None, float | None]:
    """Place in the stream, number of the delivery and time, as far as they can be read."""
    try:
        metadata = message.metadata
    except (NotJSMessageError, ValueError, IndexError):
        return None, None, None
    queued_at = metadata.timestamp.timestamp()
    return metadata.sequence.stream, metadata.num_delivered, queued_at
