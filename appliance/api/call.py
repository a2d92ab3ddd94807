"""One request on its way through the faces.

Invariant: a `Call` is made when a request arrives and seen by its own task only; what the log line
says about a request is what stands here at its end. No address, token or property is kept in a
field that is logged.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from enum import StrEnum
from typing import Final

import msgspec

from appliance.api.ports import Principal


class Boundary(StrEnum):
    """Who may call a service, and with what [services 1]."""

    PUBLIC = "public"
    DASHBOARD = "dashboard"
    SHARED = "shared"
    SDK = "sdk"


class Call(msgspec.Struct, kw_only=True):
    """Facts about one request; mutable, because they are learned on the way.

    Names in `headers` are lower-case; `peer` is the TCP peer's address, empty when unknown.
    `error_fields` is what an error says to the log only, like the code of a store.
    """

    request_id: str
    boundary: Boundary
    headers: Mapping[str, str]
    peer: str
    principal: Principal | None = None
    code: str = "ok"
    reason: str = ""
    error_fields: Mapping[str, str] = {}
    events: int | None = None
    dropped: int | None = None

    @property
    def caller(self) -> Principal:
        """The authenticated principal; only handlers behind a credential ask."""
        assert self.principal is not None
        return self.principal


current_call: Final[ContextVar[Call]] = ContextVar("current_call")
"""The request this task works for."""
