"""A person's messages on the queue and among the dead letters: where they are, taking them away.

Invariant: a message is removed only when its consumer is done with it, so nothing that was accepted
of somebody else is lost; removed bytes are overwritten by the server. A dead letter that also holds
other people's events is published again without the person's before it is removed.
"""

from collections.abc import AsyncGenerator
from typing import Final

from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import TimeoutError as FetchTimeoutError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, Header
from nats.js.errors import NotFoundError

from appliance.domain.people.erasure import QueueMarks, StreamMark
from appliance.storage.streams.block_ledger import BlockLedger
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.errors import stream_errors, unavailable
from appliance.storage.streams.people import (
    ALIAS_DURABLE,
    ALIAS_SUBJECT,
    IDENTIFY_DURABLE,
    IDENTIFY_SUBJECT,
    PROFILES_STREAM,
    UPSERT_DURABLE,
    UPSERT_SUBJECT,
)
from appliance.storage.streams.publish import EVENTS_STREAM, Publisher

COMPLIANCE_STREAM: Final = "compliance"
ERASE_SUBJECT: Final = "compliance.erase"
ERASE_DURABLE: Final = "compliance-erase-processor-durable"
PROFILE_CONSUMERS: Final = {
    IDENTIFY_SUBJECT: IDENTIFY_DURABLE,
    ALIAS_SUBJECT: ALIAS_DURABLE,
    UPSERT_SUBJECT: UPSERT_DURABLE,
}
"""Who works on the subjects of stream `profiles` [workers 2]."""
FETCH_MESSAGES: Final = 64
"""Messages in memory at once; each is at most as large as the server allows."""
FETCH_SECONDS: Final = 5.0
READER_SECONDS: Final = 60.0
"""After so long without a question the server forgets a reader."""


class Waiting(Struct, frozen=True, kw_only=True):
    """A message of a stream as it was read."""

    sequence: int
    subject: str
    payload: bytes
    headers: dict[str, str]


class PersonQueues:
    """What erasures ask of the queue."""

    def __init__(self, streams: Streams, publisher: Publisher) -> None:
        self._streams = streams
        self._publisher = publisher
        self._ledger = BlockLedger(streams, owner="", stream=EVENTS_STREAM)

    async def mark(self) -> QueueMarks:
        """Where the streams of events and profiles end now."""
        return QueueMarks(
            events=await self._end_of(EVENTS_STREAM), profiles=await self._end_of(PROFILES_STREAM)
        )

    async def events_passed(self, mark: StreamMark) -> bool:
        """Whether every event up to the mark is stored, and no block with one is open.

        A stream that was made anew since has nothing of before the mark.
        """
        jetstream = await self._streams.jetstream()
        with stream_errors():
            told = await jetstream.stream_info(EVENTS_STREAM)
        if str(told.created) != mark.life or not mark.sequence:
            return True
        position = await self._ledger.load()
        if position is not None and position.stream == mark.life:
            if position.done >= mark.sequence:
                return True
            if position.block is not None:
                return False
        first = told.state.first_seq if told.state.messages else told.state.last_seq + 1
        return first > mark.sequence

    async def place_of(self, stream: str, mark: StreamMark) -> int:
        """The mark's sequence in a stream; 0 when the stream was made anew since."""
        return mark.sequence if (await self._end_of(stream)).life == mark.life else 0

    async def profiles_passed(self, mark: StreamMark, subject: str) -> bool:
        """Whether the worker of a subject of `profiles` is done with everything up to the mark."""
        jetstream = await self._streams.jetstream()
        with stream_errors():
            told = await jetstream.stream_info(PROFILES_STREAM)
            if str(told.created) != mark.life:
                return True
            state = await jetstream.consumer_info(PROFILES_STREAM, PROFILE_CONSUMERS[subject])
            try:
                newest = (await jetstream.get_last_msg(PROFILES_STREAM, subject)).seq or 0
            except NotFoundError:
                newest = 0
        # the count of what is pending can trail behind what was stored a moment ago
        idle = not state.num_pending
        return _handled(state) >= mark.sequence or (idle and _handled(state) >= newest)

    async def handled_profiles(self) -> dict[str, int]:
        """Of each subject of `profiles`, up to which sequence its worker is done."""
        jetstream = await self._streams.jetstream()
        done: dict[str, int] = {}
        with stream_errors():
            for subject, durable in PROFILE_CONSUMERS.items():
                done[subject] = _handled(await jetstream.consumer_info(PROFILES_STREAM, durable))
        return done

    async def read(
        self, stream: str, *, until: int | None = None, after: int = 0
    ) -> AsyncGenerator[Waiting]:
        """Every message that a stream holds after `after`, up to `until` (None: its end now)."""
        jetstream = await self._streams.jetstream()
        with stream_errors():
            state = (await jetstream.stream_info(stream)).state
            last = state.last_seq if until is None else min(until, state.last_seq)
            if not state.messages or state.first_seq > last or after >= last:
                return
            subscription = await jetstream.pull_subscribe(
                stream.replace("-", ".") + ".>", stream=stream, config=_reader(after + 1)
            )
        try:
            delivered, more = 0, True
            while more:
                with stream_errors():
                    batch = await _fetch(subscription)
                more = bool(batch)
                for message in batch:
                    delivered += 1
                    if message.metadata.sequence.consumer != delivered:
                        raise unavailable()  # a message was lost with its connection
                    waiting = _waiting(message)
                    if waiting.sequence > last:
                        more = False
                        break
                    yield waiting
                    more = more and bool(message.metadata.num_pending)
        finally:
            with stream_errors():
                await _forget(jetstream, stream, subscription)

    async def remove(self, stream: str, sequence: int) -> bool:
        """Remove a message and overwrite its bytes; False when it was gone already."""
        jetstream = await self._streams.jetstream()
        with stream_errors():
            try:
                await jetstream.delete_msg(stream, sequence)
            except NotFoundError:
                return False
        return True

    async def publish_remainder(self, letter: Waiting, payload: bytes) -> None:
        """Keep a dead letter anew with less in it; everything it said about itself stays."""
        headers = {name: text for name, text in letter.headers.items() if name not in _SERVERS_OWN}
        await self._publisher.publish(letter.subject, payload, message_id=None, headers=headers)

    async def _end_of(self, stream: str) -> StreamMark:
        jetstream = await self._streams.jetstream()
        with stream_errors():
            told = await jetstream.stream_info(stream)
        return StreamMark(life=str(told.created), sequence=told.state.last_seq)


_SERVERS_OWN: Final = frozenset({Header.MSG_ID.value})
_Pull = JetStreamContext.PullSubscription


def _handled(state: ConsumerInfo) -> int:
    """Up to which sequence a consumer was given messages and is done with every one."""
    floor = state.ack_floor.stream_seq if state.ack_floor is not None else 0
    if state.num_ack_pending or state.delivered is None:
        return floor
    return max(floor, state.delivered.stream_seq)


def _reader(first: int) -> ConsumerConfig:
    return ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first,
        inactive_threshold=READER_SECONDS,
        mem_storage=True,
        num_replicas=1,
    )


async def _fetch(subscription: _Pull) -> list[Msg]:
    """The next messages; none only when the server says that there are none."""
    try:
        return await subscription.fetch(FETCH_MESSAGES, timeout=FETCH_SECONDS)
    except FetchTimeoutError:
        if (await subscription.consumer_info()).num_pending:
            raise
        return []


async def _forget(jetstream: JetStreamContext, stream: str, subscription: _Pull) -> None:
    name = (await subscription.consumer_info()).name
    await subscription.unsubscribe()
    await jetstream.delete_consumer(stream, name)


def _waiting(message: Msg) -> Waiting:
    return Waiting(
        sequence=message.metadata.sequence.stream,
        subject=message.subject,
        payload=message.data,
        headers=dict(message.headers or {}),
    )
