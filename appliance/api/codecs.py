"""Bytes to messages and back, for the protocol library.

Invariant: bytes that are not the message become `invalid_argument` with a sentence of ours, and an
empty body is the empty message in either form [sdk-protocol 2]. The two codecs of `BatchCreate`
build the domain's `Batch` at once and never the protobuf message: that is the hot path.
"""

from typing import Final, TypeVar, cast

import msgspec
from connectrpc.codec import Codec, proto_binary_codec, proto_json_codec
from protobuf import Message

from appliance.api.errors import undecodable
from appliance.api.wire_events import EventReader
from appliance.base.errors import InvalidInputError
from appliance.domain.ingest.event import Batch, decode_batch
from appliance.gen.sdk.events.v1.events_pb import BatchCreateResponse

_MessageType = TypeVar("_MessageType")
_CAUSE_CHARACTERS_MAX: Final = 200
_EMPTY_JSON: Final = b"{}"


class MessageCodec:
    """The library's codec with our sentences."""

    def __init__(self, inner: Codec) -> None:
        self._inner = inner

    def name(self) -> str:
        return self._inner.name()

    def encode(self, message: Message) -> bytes:
        return self._inner.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[_MessageType]) -> _MessageType:
        if not data and self._inner.name() == "json":
            data = _EMPTY_JSON
        try:
            return cast("_MessageType", self._inner.decode(data, message_class))
        except (ValueError, TypeError, RecursionError) as error:
            raise _not_the_message(message_class.__name__, error) from error


class BatchJsonCodec:
    """JSON straight into events, one pass of msgspec."""

    def name(self) -> str:
        return "json"

    def encode(self, message: BatchCreateResponse) -> bytes:
        return msgspec.json.encode(
            {
                "accepted": message.accepted,
                "dropped": message.dropped,
                **(
                    {"droppedByReason": message.dropped_by_reason}
                    if message.dropped_by_reason
                    else {}
                ),
            }
        )

    def decode(self, data: bytes | bytearray, message_class: type[object]) -> Batch:  # noqa: ARG002 the shape of the library
        try:
            return decode_batch(bytes(data)) if data else Batch()
        except InvalidInputError as error:
            raise undecodable(error.message) from error


class BatchBinaryCodec:
    """Protobuf bytes straight into events."""

    def __init__(self) -> None:
        self._reader = EventReader()

    def name(self) -> str:
        return "proto"

    def encode(self, message: BatchCreateResponse) -> bytes:
        return message.to_binary()

    def decode(self, data: bytes | bytearray, message_class: type[object]) -> Batch:  # noqa: ARG002 the shape of the library
        try:
            return self._reader.read(bytes(data))
        except ValueError as error:
            raise _not_the_message("BatchCreateRequest", error) from error


def message_codecs() -> list[Codec]:
    """Codecs of every service but the ingest."""
    return [MessageCodec(proto_binary_codec()), MessageCodec(proto_json_codec())]


def batch_codecs() -> list[Codec]:
    """Codecs of the ingest."""
    return [BatchBinaryCodec(), BatchJsonCodec()]


def _not_the_message(name: str, error: Exception) -> Exception:
    cause = str(error)[:_CAUSE_CHARACTERS_MAX] or type(error).__name__
    return undecodable(f"the body is not a {name}: {cause}")
