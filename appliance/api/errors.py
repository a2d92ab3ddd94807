"""Our errors on their way to the wire.

Invariant: every failure that reaches a caller has a Connect code, a sentence that leaks nothing,
and, where we noticed it ourselves, the details of [services 2.2] in their order. An error nobody
expected becomes `internal` with its text hidden and is logged here, once, with its trace.
How an error looks in each protocol is decided in `protocols.py`.
"""

from typing import Final

import structlog
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from protobuf import Message
from protobuf.wkt import Duration

from appliance.api.call import current_call
from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.gen.google.rpc.error_details_pb import (
    BadRequest,
    ErrorInfo,
    QuotaFailure,
    RequestInfo,
    ResourceInfo,
    RetryInfo,
)

ERROR_DOMAIN: Final = "pug.sh"
_NANOSECONDS: Final = 1_000_000_000
_HIDDEN: Final = "something went wrong on our side; the log of the server has this request id"

_log = structlog.get_logger()


def wire_error(error: Exception) -> ConnectError:
    """The error as the caller may see it, with details.

    Works for our own errors, for those of the protocol library and for bugs.
    """
    if isinstance(error, ApplianceError):
        return _noted(_with_details(error))
    if isinstance(error, ConnectError):
        return _noted(_tagged(error))
    call = current_call.get()
    _log.error("request_broke", request_id=call.request_id, exc_info=error)
    return _noted(_with_details(ApplianceError("INTERNAL", _HIDDEN)))


def undecodable(message: str) -> ConnectError:
    """A body that is not the message it should be; such errors carry no details [services 2.2]."""
    current_call.get().code = Code.INVALID_ARGUMENT.value
    return _noted(ConnectError(Code.INVALID_ARGUMENT, message))


def refused_body(message: str) -> ConnectError:
    """A body we will not read; permanent for every SDK, or they would send it for ever."""
    return wire_error(InvalidInputError("INVALID_ARGUMENT", message))


def _noted(error: ConnectError) -> ConnectError:
    current_call.get().failures.append(error)
    return error


def _tagged(error: ConnectError) -> ConnectError:
    if error.details:
        return error
    details = _common_details(error.code.name, error.code)
    return ConnectError(error.code, error.message, details)


def _with_details(error: ApplianceError) -> ConnectError:
    code = Code(error.code.value)
    details = _common_details(error.reason, code)
    current_call.get().error_fields = error.fields
    if error.resource is not None:
        details.append(
            ResourceInfo(resource_type=error.resource.kind, resource_name=error.resource.name)
        )
    if error.violations:
        violations = [
            BadRequest.FieldViolation(field=each.field, description=each.description)
            for each in error.violations
        ]
        details.append(BadRequest(field_violations=violations))
    details += _limit_details(error)
    return ConnectError(code, error.message, details)


def _limit_details(error: ApplianceError) -> list[Message]:
    """Which limit was met, and when to come again; ours, behind those of the contract."""
    details: list[Message] = []
    if error.quota is not None:
        met = QuotaFailure.Violation(
            subject=error.quota.subject, description=error.quota.description
        )
        details.append(QuotaFailure(violations=[met]))
    if error.retry_seconds is not None:
        current_call.get().retry_seconds = error.retry_seconds
        nanos = round(error.retry_seconds * _NANOSECONDS)
        delay = Duration(seconds=nanos // _NANOSECONDS, nanos=nanos % _NANOSECONDS)
        details.append(RetryInfo(retry_delay=delay))
    return details


def _common_details(reason: str, code: Code) -> list[Message]:
    call = current_call.get()
    call.code = code.value
    call.reason = reason
    return [
        ErrorInfo(reason=reason, domain=ERROR_DOMAIN),
        RequestInfo(request_id=call.request_id),
    ]
