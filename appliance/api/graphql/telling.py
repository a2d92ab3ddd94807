"""Errors of the graph as callers see them.

Invariant: no text of an exception reaches a caller: our errors are told by their public sentence
and reason, everything else is hidden and logged once, by the one translator of the faces.
"""

from typing import Final

import msgspec
from msgspec import Struct

from appliance.api.call import Call
from appliance.api.errors import wire_error
from appliance.base.errors import HTTP_STATUS, ApplianceError, ConnectCode

_OK: Final = "ok"


class Told(Struct, frozen=True, kw_only=True):
    """An answer, ready to be sent."""

    status: int
    body: bytes


def refused(error: Exception, call: Call) -> Told:
    """The answer that says why a request is refused as a whole."""
    told = told_error(error, call)
    return Told(status=refusal_status(call), body=msgspec.json.encode({"errors": [told]}))


def refusal_status(call: Call) -> int:
    """The HTTP status of a request whose question was not answered."""
    return HTTP_STATUS[ConnectCode(call.code)]


def told_error(error: Exception, call: Call) -> dict[str, object]:
    """One error; the first of a request is the one its log line names."""
    code, reason, fields = call.code, call.reason, call.error_fields
    wire = wire_error(error)
    extensions: dict[str, object] = {
        "code": wire.code.value,
        "reason": call.reason,
        "requestId": call.request_id,
    }
    if code != _OK:
        call.code, call.reason, call.error_fields = code, reason, fields
    if isinstance(error, ApplianceError) and error.violations:
        extensions["violations"] = [
            {"field": one.field, "description": one.description} for one in error.violations
        ]
    if isinstance(error, ApplianceError) and error.retry_seconds is not None:
        extensions["retrySeconds"] = error.retry_seconds
    return {"message": wire.message, "extensions": extensions}
