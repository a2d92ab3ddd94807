"""Puts messages on the queue and waits until they are on its disk.

Invariant: `publish` returns only after the server's acknowledgement; whatever else happens is an
error that tells the caller to send again. How many may be under way is bounded.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from nats.js.api import Header

from appliance.base.errors import UnavailableError
from appliance.storage.streams.connection import REQUEST_SECONDS_MAX, Streams
from appliance.storage.streams.errors import stream_errors, unavailable

IN_FLIGHT_MAX: Final = 256
WAIT_SECONDS_MAX: Final = 5.0
HEADER_BYTES_MAX: Final = 4096
"""Room left below the server's message limit for our headers."""

EVENTS_STREAM: Final = "events"
EVENTS_SUBJECT: Final = "events.ingest"
EVENTS_DURABLE: Final = "events-writer-durable"
EVENTS_DEAD_SUBJECT: Final = "dlq.events.ingest"
PROJECT_HEADER: Final = "Pug-Project"
KEYS_REVOKED_SUBJECT: Final = "pug.keys.revoked"


class Publisher:
    """Publishes to JetStream, a bounded number of messages at once.

    `require_room` raises UnavailableError when nothing more may be stored.
    """

    def __init__(self, streams: Streams, *, require_room: Callable[[], None] | None = None) -> None:
        self._streams = streams
        self._require_room = require_room
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)

    def require_room(self) -> None:
        """Return when another message may be stored; raises UnavailableError when it may not."""
        if self._require_room is not None:
            self._require_room()

    async def payload_bytes_max(self) -> int:
        """How large a payload the server takes, beside our headers."""
        return (await self._streams.client()).max_payload - HEADER_BYTES_MAX

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str | None, headers: Mapping[str, str]
    ) -> bool:
        """Store one message; returns False when the server had a message of this id already.

        Raises UnavailableError without an acknowledgement, also when the queue is full.
        """
        self.require_room()
        complete = dict(headers)
        if message_id is not None:
            complete[Header.MSG_ID.value] = message_id
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await self._slots.acquire()
        except TimeoutError as error:
            raise unavailable() from error
        try:
            jetstream = await self._streams.jetstream()
            with stream_errors():
                answer = await self._streams.unless_lost(
                    jetstream.publish(
                        subject, payload, timeout=REQUEST_SECONDS_MAX, headers=complete
                    )
                )
        finally:
            self._slots.release()
        return not answer.duplicate

    async def announce(self, subject: str, payload: bytes) -> None:
        """Tell whoever listens now; lost when nobody does or the server is away."""
        try:
            client = await self._streams.client()
            with stream_errors():
                await client.publish(subject, payload)
        except UnavailableError:
            return
