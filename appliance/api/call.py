"""One request on its way through the faces.

Invariant: a `Call` is made when a request arrives and seen by its own task only; what the log line
says about a request is what stands here at its end. No address, token or property is kept in a
field that is logged.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from appliance.api.ports import Principal
from appliance.domain.access.callers import Actor, ActorKind, SignedIn
from appliance.services.keys import Principal as KeyHolder


class Boundary(StrEnum):
    """Who may call a service, and with what [services 1]."""

    PUBLIC = "public"
    DASHBOARD = "dashboard"
    SHARED = "shared"
    SDK = "sdk"
    MCP = "mcp"


class Lease(Protocol):
    """Bytes of a request's body that are held, out of a budget for all."""

    def take(self, number: int, /) -> None:
        """Count more bytes; raises the refusal when there are too many."""
        ...

    def release(self) -> None:
        """Hold nothing any more."""
        ...


class Call(msgspec.Struct, kw_only=True):
    """Facts about one request; mutable, because they are learned on the way.

    Names in `headers` are lower-case; `peer` is the TCP peer's address, empty when unknown, and
    `address` the caller's behind trusted proxies.
    `lease` counts the bytes of its body, where they are counted.
    `retry_seconds` is when a refused caller may come again, where that is known.
    `failures` are the errors that were made for the wire.
    `error_fields` is what an error says to the log only, like the code of a store.
    """

    request_id: str
    boundary: Boundary
    headers: Mapping[str, str]
    peer: str
    address: str = ""
    lease: Lease | None = None
    principal: Principal | None = None
    signed_in: SignedIn | None = None
    code: str = "ok"
    reason: str = ""
    retry_seconds: float | None = None
    error_fields: Mapping[str, str] = {}
    events: int | None = None
    dropped: int | None = None
    failures: list[Exception] = []

    def close(self) -> None:
        """Let go of the body, when the request has ended.

        An error remembers the frames it passed, and one of the protocol library's remembers the
        error: without this every refused body stays until the cycle collector comes, which seldom
        does.
        """
        if self.lease is not None:
            self.lease.release()
        for failure in self.failures:
            error: BaseException | None = failure
            while error is not None and error.__traceback__ is not None:
                error.__traceback__ = None
                error = error.__cause__ or error.__context__
        self.failures.clear()

    @property
    def caller(self) -> Principal:
        """The authenticated principal; only handlers behind a credential ask."""
        assert self.principal is not None
        return self.principal

    @property
    def customer(self) -> SignedIn:
        """The signed-in customer; only handlers of the dashboard boundary ask."""
        assert self.signed_in is not None
        return self.signed_in

    @property
    def actor(self) -> Actor:
        """Who the audit log says it was: a customer, a key, before sign-in only an address."""
        if isinstance(self.principal, KeyHolder):
            return Actor(kind=ActorKind.KEY, id=self.principal.key_id, address=self.address)
        if self.signed_in is None:
            return Actor(kind=ActorKind.CUSTOMER, address=self.address)
        return Actor(
            kind=ActorKind.CUSTOMER,
            id=self.signed_in.customer_id,
            label=self.signed_in.email,
            address=self.address,
        )


current_call: Final[ContextVar[Call]] = ContextVar("current_call")
"""The request this task works for."""
