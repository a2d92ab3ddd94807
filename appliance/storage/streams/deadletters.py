"""Messages that can never succeed: kept aside unchanged, with the reason, to look at and replay.

Invariant: the payload is the original one and the original headers are copied, so replaying is
publishing it again where it came from [workers 1]. A dead letter has a message id made of where it
came from, so a crash between keeping it and recording that keeps it once.
"""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Final, cast

from msgspec import Struct
from nats.js.api import Header, RawStreamMsg
from nats.js.errors import NotFoundError as NotFoundAnswer

from appliance.base.errors import NotFoundError
from appliance.domain.delivery import Disposition
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.errors import stream_errors
from appliance.storage.streams.publish import Publisher

DEAD_STREAM_PREFIX: Final = "dlq-"
LIST_MAX: Final = 1000
_REASON_CHARACTERS_MAX: Final = 500
_STREAM_MISSING: Final = 10059
_OWN_HEADERS: Final = frozenset(
    {
        "original_subject",
        "original_stream",
        "original_consumer",
        "error_reason",
        "dlq_timestamp",
        "delivery_count",
        "stream_sequence",
        "worker",
        "project_id",
        Header.MSG_ID.value,
    }
)


class Origin(Struct, frozen=True, kw_only=True):
    """Where a message came from; numbers are None when they were unreadable."""

    subject: str
    stream: str
    consumer: str
    sequence: int | None
    deliveries: int | None


class DeadLetterSummary(Struct, frozen=True, kw_only=True):
    """One dead letter without its payload."""

    stream: str
    sequence: int
    subject: str
    original_subject: str
    reason: str
    dead_at: str
    bytes: int
    headers: dict[str, str]


class DeadLetters:
    """Keeps, lists and replays dead letters."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._publisher = Publisher(streams)

    async def keep(
        self,
        payload: bytes,
        headers: Mapping[str, str],
        *,
        origin: Origin,
        reason: str,
        disposition: Disposition,
        now: datetime,
        extra: Mapping[str, str],
    ) -> None:
        """Put a message aside; raises when the server does not confirm it."""
        complete = {name: text for name, text in headers.items() if name not in _OWN_HEADERS}
        complete |= {
            "original_subject": origin.subject,
            "original_stream": origin.stream,
            "original_consumer": origin.consumer,
            "error_reason": _header_text(reason),
            "disposition": disposition.value,
            "dlq_timestamp": now.isoformat().replace("+00:00", "Z"),
            **{name: _header_text(text) for name, text in extra.items()},
        }
        if origin.deliveries is not None:
            complete["delivery_count"] = str(origin.deliveries)
        message_id = None
        if origin.sequence is not None:
            complete["stream_sequence"] = str(origin.sequence)
            message_id = f"dead-{origin.stream}-{origin.sequence}"
        await self._publisher.publish(
            f"dlq.{origin.subject}", payload, message_id=message_id, headers=complete
        )

    async def summaries(self, stream: str) -> AsyncGenerator[DeadLetterSummary]:
        """The dead letters of `stream` (such as `events`), oldest first, at most a thousand."""
        name = DEAD_STREAM_PREFIX + stream
        sequence = 1
        for _ in range(LIST_MAX):
            message = await self._next(name, sequence)
            if message is None:
                return
            yield _summary(name, message)
            assert message.seq is not None
            sequence = message.seq + 1

    async def load(self, stream: str, sequence: int) -> tuple[DeadLetterSummary, bytes]:
        """One dead letter and its payload; raises NotFoundError when there is none."""
        name = DEAD_STREAM_PREFIX + stream
        jetstream = await self._streams.jetstream()
        with stream_errors():
            try:
                message = await jetstream.get_msg(name, seq=sequence)
            except NotFoundAnswer as error:
                raise NotFoundError(
                    "DEAD_LETTER_NOT_FOUND",
                    f"{name} has no message {sequence}",
                    hint="see `pug-appliance dlq list`",
                ) from error
        return _summary(name, message), message.data or b""

    async def replay(self, stream: str, sequence: int) -> str:
        """Publish a dead letter where it came from, then remove it; returns the subject.

        A crash in between leaves it in both places; the event store counts its rows once.
        """
        summary, payload = await self.load(stream, sequence)
        kept = {name: text for name, text in summary.headers.items() if name not in _OWN_HEADERS}
        kept.pop("disposition", None)
        await self._publisher.publish(
            summary.original_subject, payload, message_id=None, headers=kept
        )
        await self.remove(stream, sequence)
        return summary.original_subject

    async def remove(self, stream: str, sequence: int) -> None:
        """Forget a dead letter."""
        jetstream = await self._streams.jetstream()
        with stream_errors():
            await jetstream.delete_msg(DEAD_STREAM_PREFIX + stream, sequence)

    async def _next(self, name: str, sequence: int) -> RawStreamMsg | None:
        jetstream = await self._streams.jetstream()
        with stream_errors():
            try:
                return await jetstream.get_msg(name, seq=sequence, subject="dlq.>", next=True)
            except NotFoundAnswer as error:
                if error.err_code == _STREAM_MISSING:
                    raise
                return None


def _summary(stream: str, message: RawStreamMsg) -> DeadLetterSummary:
    headers = cast("dict[str, str]", message.headers or {})
    assert message.seq is not None
    assert message.subject is not None
    return DeadLetterSummary(
        stream=stream.removeprefix(DEAD_STREAM_PREFIX),
        sequence=message.seq,
        subject=message.subject,
        original_subject=headers.get("original_subject", message.subject.removeprefix("dlq.")),
        reason=headers.get("error_reason", ""),
        dead_at=headers.get("dlq_timestamp", ""),
        bytes=len(message.data or b""),
        headers=headers,
    )


def _header_text(text: str) -> str:
    """One line that a header can hold."""
    return " ".join(text.split())[:_REASON_CHARACTERS_MAX]
