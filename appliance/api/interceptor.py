"""What happens around every handler: schema rules and roles before it, error translation after it.

Invariant: a handler never sees a message that breaks a rule of its schema, all broken rules are
told at once [services 2.2], nor a caller without the right, which is asked after the rules, and no
failure leaves without going through `errors.wire_error`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import protovalidate
from connectrpc.request import RequestContext
from protobuf import Message

from appliance.api.authorize import authorize
from appliance.api.call import current_call
from appliance.api.errors import wire_error
from appliance.api.ports import Access
from appliance.base.errors import InvalidInputError, Violation

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Context = RequestContext[Any, Any]  # any message of any service

_SCHEMA_BROKEN: Final = "the request breaks rules of its schema: {}"
_RULE_UNDECIDABLE: Final = "a rule of the schema cannot be applied to this value: {}"
_TOLD_IN_SENTENCE_MAX: Final = 3


class HandlerGuard:
    """Interceptor of one service."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def intercept_unary(
        self,
        call_next: Callable[[_Request, _Context], Awaitable[_Response]],
        request: _Request,
        ctx: _Context,
        /,
    ) -> _Response:
        try:
            validate(request)
            await authorize(_path(ctx), request, current_call.get(), self._access)
            return await call_next(request, ctx)
        except Exception as error:
            raise wire_error(error) from error

    async def intercept_server_stream(
        self,
        call_next: Callable[[_Request, _Context], AsyncIterator[_Response]],
        request: _Request,
        ctx: _Context,
        /,
    ) -> AsyncIterator[_Response]:
        try:
            validate(request)
            await authorize(_path(ctx), request, current_call.get(), self._access)
            async for message in call_next(request, ctx):
                yield message
        except Exception as error:
            raise wire_error(error) from error


def _path(ctx: _Context) -> str:
    return f"{ctx.method.service_name}/{ctx.method.name}"


def validate(request: object) -> None:
    """Raise InvalidInputError naming every broken rule.

    Batches of events are not messages: the domain checks them by hand, with the same outcome.
    """
    if not isinstance(request, Message):
        return
    try:
        found = protovalidate.collect_violations(cast("Message[Any]", request))
    except protovalidate.EvaluationError as error:
        raise InvalidInputError("INVALID_ARGUMENT", _RULE_UNDECIDABLE.format(error)) from error
    if found:
        violations = tuple(_violation(each) for each in found)
        raise InvalidInputError(
            "INVALID_ARGUMENT", _SCHEMA_BROKEN.format(_told(violations)), violations=violations
        )


def _violation(found: protovalidate.Violation) -> Violation:
    path = found.proto.field
    names = [element.field_name for element in path.elements] if path is not None else []
    return Violation(field=".".join(names), description=found.proto.message)


def _told(violations: tuple[Violation, ...]) -> str:
    told = [
        f"{each.field}: {each.description}" if each.field else each.description
        for each in violations[:_TOLD_IN_SENTENCE_MAX]
    ]
    more = len(violations) - len(told)
    return "; ".join([*told, f"and {more} more"] if more else told)
