"""Follows one stream from now on, for whoever looks and stores nothing.

Invariant: only what the queue took is heard, once and in order; what passed while nobody could
listen is not fetched afterwards, and `broke` says that it happened. The consumer is the server's
shortest-lived kind: in memory, without acknowledgements, gone by itself when we are. Nothing of the
workers' consumers is touched. Beside it: `consume.py`, which loses nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from appliance.base.clock import Clock
from appliance.base.errors import UnavailableError
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.errors import stream_errors

LOOK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 1.0
BEAT_SECONDS: Final = 2.0
"""How often the server says something when there is nothing to say."""
SILENCE_SECONDS_MAX: Final = 6.0
UNUSED_SECONDS_MAX: Final = 10.0
"""When the server forgets a consumer whose reader has died."""
LET_GO_SECONDS_MAX: Final = 1.0
HELD_MESSAGES_MAX: Final = 2000
HELD_BYTES_MAX: Final = 16 << 20
_STATUS_HEADER: Final = "Status"

Heard = Callable[[Mapping[str, str], bytes], None]

_LOG: Final = structlog.stdlib.get_logger()


class StreamTail:
    """Calls `heard` with headers and payload of every message that arrives.

    `broke` is called when messages may have been missed.
    """

    def __init__(
        self,
        streams: Streams,
        clock: Clock,
        *,
        stream: str,
        heard: Heard,
        broke: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._stream = stream
        self._heard = heard
        self._broke = broke
        self._delivered = 0
        self._heard_at = 0.0

    async def follow(self, following: Callable[[], None]) -> None:
        """Listen until cancelled; `following` is called whenever listening begins.

        A queue that is away is met again by itself.
        """
        began = False
        while True:
            try:
                await self._listen_once(following, again=began)
                began = True
            except UnavailableError as error:
                _LOG.info("tail_waits_for_queue", stream=self._stream, reason=error.reason)
                await asyncio.sleep(RETRY_SECONDS)

    async def _listen_once(self, following: Callable[[], None], *, again: bool) -> None:
        """Listen until the connection or the server's word is lost."""
        client = await self._streams.client()
        jetstream = await self._streams.jetstream()
        subscription, consumer = await self._open(client, jetstream)
        try:
            if again:
                self._broke()
            following()
            await self._until_lost(client)
        finally:
            await self._let_go(client, jetstream, subscription, consumer)

    async def _open(self, client: Client, jetstream: JetStreamContext) -> tuple[Subscription, str]:
        self._delivered = 0
        self._heard_at = self._clock.monotonic_seconds()
        with stream_errors():
            inbox = client.new_inbox()
            subscription = await client.subscribe(  # pyright: ignore[reportUnknownMemberType] half-typed driver
                inbox,
                cb=self._receive,
                pending_msgs_limit=HELD_MESSAGES_MAX,
                pending_bytes_limit=HELD_BYTES_MAX,
            )
            try:
                told = await jetstream.add_consumer(  # pyright: ignore[reportUnknownMemberType] half-typed driver
                    self._stream,
                    ConsumerConfig(
                        deliver_policy=DeliverPolicy.NEW,
                        ack_policy=AckPolicy.NONE,
                        deliver_subject=inbox,
                        idle_heartbeat=BEAT_SECONDS,
                        inactive_threshold=UNUSED_SECONDS_MAX,
                        max_deliver=1,
                        mem_storage=True,
                        num_replicas=1,
                    ),
                )
            except BaseException:
                await _unsubscribe(subscription)
                raise
        return subscription, told.name

    async def _until_lost(self, client: Client) -> None:
        reconnects = client.stats["reconnects"]
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            silent = self._clock.monotonic_seconds() - self._heard_at > SILENCE_SECONDS_MAX
            if silent or client.stats["reconnects"] != reconnects:
                return

    async def _receive(self, message: Msg) -> None:
        self._heard_at = self._clock.monotonic_seconds()
        headers = message.headers or {}
        if _STATUS_HEADER in headers and not message.data:
            return
        number = message.metadata.sequence.consumer
        if number != self._delivered + 1:
            self._broke()
        self._delivered = number
        self._heard(headers, message.data)

    async def _let_go(
        self,
        client: Client,
        jetstream: JetStreamContext,
        subscription: Subscription,
        consumer: str,
    ) -> None:
        """Unsubscribe, and take the consumer away where that is quick; else it ends by itself."""
        await _unsubscribe(subscription)
        if not client.is_connected:
            return
        try:
            async with asyncio.timeout(LET_GO_SECONDS_MAX):
                await jetstream.delete_consumer(self._stream, consumer)
        except (NatsError, TimeoutError) as error:
            _LOG.debug("tail_consumer_left", cause=type(error).__name__)


async def _unsubscribe(subscription: Subscription) -> None:
    try:
        await subscription.unsubscribe()
    except NatsError:
        return  # the connection that knew it is gone
