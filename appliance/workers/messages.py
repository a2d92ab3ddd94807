"""Decodes a message of the queue and checks the rules of its schema [workers 1].

Invariant: what comes out keeps every rule; whatever fails is an InvalidInputError, which ends the
message at once, and its text holds names of fields, never their values.
"""

from typing import Any, TypeVar

import protovalidate
from protobuf import Message

from appliance.base.errors import InvalidInputError

AnyMessage = TypeVar("AnyMessage", bound=Message[Any])


def read_message(kind: type[AnyMessage], payload: bytes) -> AnyMessage:
    """The message in a payload; raises InvalidInputError for one that can never be handled."""
    name = kind.__name__
    try:
        message = kind.from_binary(payload)
        broken = protovalidate.collect_violations(message)
    except Exception as error:
        raise InvalidInputError("INVALID_ARGUMENT", f"the bytes are not a {name}") from error
    if broken:
        names = ", ".join(sorted({_path(one) for one in broken}))
        raise InvalidInputError(
            "INVALID_ARGUMENT", f"the {name} breaks rules of its schema: {names}"
        )
    return message


def _path(broken: protovalidate.Violation) -> str:
    path = broken.proto.field
    return ".".join(one.field_name for one in path.elements) if path is not None else "message"
