"""The rules that messages carry in their schema [services 2.2, workers 1].

Invariant: all broken rules are told at once, by the dotted names of their fields. Of a message of
the queue no value is told, because the text is kept.
"""

from typing import Any, Final, TypeVar

import protovalidate
from protobuf import Message

from appliance.base.errors import InvalidInputError, Violation

AnyMessage = TypeVar("AnyMessage", bound=Message[Any])

_BROKEN: Final = "the request breaks rules of its schema: {}"
_UNDECIDABLE: Final = "a rule of the schema cannot be applied to this value: {}"
_TOLD_IN_SENTENCE_MAX: Final = 3


def check_message(message: Message[Any]) -> None:
    """Raise InvalidInputError (`INVALID_ARGUMENT`) naming every broken rule."""
    try:
        found = protovalidate.collect_violations(message)
    except protovalidate.EvaluationError as error:
        raise InvalidInputError("INVALID_ARGUMENT", _UNDECIDABLE.format(error)) from error
    if found:
        violations = tuple(
            Violation(field=field_path(each), description=each.proto.message) for each in found
        )
        raise InvalidInputError(
            "INVALID_ARGUMENT", _BROKEN.format(_told(violations)), violations=violations
        )


def read_message(kind: type[AnyMessage], payload: bytes) -> AnyMessage:
    """The message of the queue in a payload.

    Raises InvalidInputError for one that can never be handled.
    """
    name = kind.__name__
    try:
        message = kind.from_binary(payload)
        broken = protovalidate.collect_violations(message)
    except Exception as error:
        raise InvalidInputError("INVALID_ARGUMENT", f"the bytes are not a {name}") from error
    if broken:
        names = ", ".join(sorted({field_path(one) or "message" for one in broken}))
        raise InvalidInputError(
            "INVALID_ARGUMENT", f"the {name} breaks rules of its schema: {names}"
        )
    return message


def field_path(found: protovalidate.Violation) -> str:
    """The dotted name of the field a rule was broken by; empty for the whole message."""
    path = found.proto.field
    return ".".join(element.field_name for element in path.elements) if path is not None else ""


def _told(violations: tuple[Violation, ...]) -> str:
    told = [
        f"{each.field}: {each.description}" if each.field else each.description
        for each in violations[:_TOLD_IN_SENTENCE_MAX]
    ]
    more = len(violations) - len(told)
    return "; ".join([*told, f"and {more} more"] if more else told)
