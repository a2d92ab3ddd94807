"""What happens around every handler: schema rules and roles before it, error translation after it.

Invariant: a handler never sees a message that breaks a rule of its schema, all broken rules are
told at once [services 2.2], nor a caller without the right, which is asked after the rules, and no
failure leaves without going through `errors.wire_error`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, cast

from connectrpc.request import RequestContext
from protobuf import Message

from appliance.api.authorize import authorize
from appliance.api.call import current_call
from appliance.api.errors import wire_error
from appliance.api.ports import Access
from appliance.services.schema_rules import check_message

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Context = RequestContext[Any, Any]  # any message of any service


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
    if isinstance(request, Message):
        check_message(cast("Message[Any]", request))
