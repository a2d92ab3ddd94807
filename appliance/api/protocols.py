"""Which protocol a request speaks, and how a refusal is said in it.

Invariant: whoever refuses a request before the protocol library has seen it says so in the
request's own protocol when that can be told from the content type, else as Connect JSON
[services 2.2]; a plain HTTP error makes SDKs send a batch for ever [sdk-protocol 4].
"""

from base64 import b64encode
from enum import Enum
from math import ceil
from typing import Final
from urllib.parse import quote

import msgspec
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from protobuf import message_to_json_value
from protobuf.wkt import Any as AnyMessage

from appliance.base.errors import HTTP_STATUS, ConnectCode
from appliance.gen.google.rpc.error_details_pb import RetryInfo
from appliance.gen.google.rpc.status_pb import Status

Headers = list[tuple[bytes, bytes]]

ACCEPT_POST: Final = (
    b"application/json, application/proto, application/connect+json, application/connect+proto, "
    b"application/grpc, application/grpc+json, application/grpc+proto, application/grpc-web, "
    b"application/grpc-web+json, application/grpc-web+proto, application/grpc-web-text, "
    b"application/grpc-web-text+proto"
)
_RETRY_AFTER_SECONDS: Final = 1
_END_OF_STREAM: Final = 2


class Protocol(Enum):
    """What a content type promises."""

    CONNECT_UNARY = "connect"
    CONNECT_STREAM = "connect-stream"
    GRPC = "grpc"
    GRPC_WEB = "grpc-web"
    GRPC_WEB_TEXT = "grpc-web-text"


_PROTOCOLS: Final[dict[str, Protocol]] = {
    "application/json": Protocol.CONNECT_UNARY,
    "application/proto": Protocol.CONNECT_UNARY,
    "application/connect+json": Protocol.CONNECT_STREAM,
    "application/connect+proto": Protocol.CONNECT_STREAM,
    "application/grpc": Protocol.GRPC,
    "application/grpc+json": Protocol.GRPC,
    "application/grpc+proto": Protocol.GRPC,
    "application/grpc-web": Protocol.GRPC_WEB,
    "application/grpc-web+json": Protocol.GRPC_WEB,
    "application/grpc-web+proto": Protocol.GRPC_WEB,
    "application/grpc-web-text": Protocol.GRPC_WEB_TEXT,
    "application/grpc-web-text+proto": Protocol.GRPC_WEB_TEXT,
}

_GRPC_STATUS: Final[dict[Code, int]] = {
    code: number
    for number, code in enumerate(
        (
            Code.CANCELED,
            Code.UNKNOWN,
            Code.INVALID_ARGUMENT,
            Code.DEADLINE_EXCEEDED,
            Code.NOT_FOUND,
            Code.ALREADY_EXISTS,
            Code.PERMISSION_DENIED,
            Code.RESOURCE_EXHAUSTED,
            Code.FAILED_PRECONDITION,
            Code.ABORTED,
            Code.OUT_OF_RANGE,
            Code.UNIMPLEMENTED,
            Code.INTERNAL,
            Code.UNAVAILABLE,
            Code.DATA_LOSS,
            Code.UNAUTHENTICATED,
        ),
        start=1,
    )
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole HTTP answer."""

    status: int
    headers: Headers
    body: bytes = b""


def media_type(content_type: str) -> str:
    """The content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def protocol_of(content_type: str) -> Protocol | None:
    """The protocol a content type names, None when it names none of ours."""
    return _PROTOCOLS.get(media_type(content_type))


def refusal(error: ConnectError, *, content_type: str, status: int | None = None) -> Answer:
    """The error as an answer to a request of `content_type`, which clients expect back.

    `status` overrides the HTTP status of Connect unary, the form of everything unrecognised.
    """
    asked = media_type(content_type)
    match _PROTOCOLS.get(asked):
        case Protocol.CONNECT_UNARY | None:
            return _connect_refusal(error, status)
        case Protocol.CONNECT_STREAM:
            return _stream_refusal(error, asked)
        case Protocol.GRPC | Protocol.GRPC_WEB | Protocol.GRPC_WEB_TEXT:
            return _grpc_refusal(error, asked)


def retry_after(code: Code, seconds: float | None) -> Headers:
    """`Retry-After` for refusals that time may heal; `seconds` when that is known."""
    if code in {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED}:
        whole = max(_RETRY_AFTER_SECONDS, ceil(seconds or 0))
        return [(b"retry-after", str(whole).encode())]
    return []


def _connect_refusal(error: ConnectError, status: int | None) -> Answer:
    return Answer(
        status=status or HTTP_STATUS[ConnectCode(error.code.value)],
        headers=[
            (b"content-type", b"application/json"),
            *retry_after(error.code, _retry_seconds(error)),
        ],
        body=msgspec.json.encode(_error_object(error)),
    )


def _retry_seconds(error: ConnectError) -> float | None:
    for detail in error.details:
        told = detail.value()
        if isinstance(told, RetryInfo) and told.retry_delay is not None:
            return told.retry_delay.seconds + told.retry_delay.nanos / 1e9
    return None


def _stream_refusal(error: ConnectError, content_type: str) -> Answer:
    body = msgspec.json.encode({"error": _error_object(error)})
    return Answer(
        status=200,
        headers=[(b"content-type", content_type.encode())],
        body=bytes((_END_OF_STREAM,)) + len(body).to_bytes(4, "big") + body,
    )


def _grpc_refusal(error: ConnectError, content_type: str) -> Answer:
    number = _GRPC_STATUS[error.code]
    status = Status(
        code=number,
        message=error.message,
        details=[
            AnyMessage(type_url=f"type.googleapis.com/{d.type_name}", value=d.message_bytes)
            for d in error.details
        ],
    )
    return Answer(
        status=200,
        headers=[
            (b"content-type", content_type.encode()),
            (b"grpc-status", str(number).encode()),
            (b"grpc-message", quote(error.message, safe=" ").encode()),
            (b"grpc-status-details-bin", b64encode(status.to_binary()).rstrip(b"=")),
        ],
    )


def _error_object(error: ConnectError) -> dict[str, object]:
    content: dict[str, object] = {"code": error.code.value, "message": error.message}
    if error.details:
        content["details"] = [_detail_object(detail) for detail in error.details]
    return content


def _detail_object(detail: ErrorDetail) -> dict[str, object]:
    content: dict[str, object] = {
        "type": detail.type_name,
        "value": b64encode(detail.message_bytes).rstrip(b"=").decode(),
    }
    message = detail.value()
    if message is not None:
        content["debug"] = message_to_json_value(message)
    return content
