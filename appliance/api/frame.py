"""The frame around a request: what every door does before its own work and after it.

Invariant: whoever answers a request that works for somebody stands in `Frame.around`, so it has a
`Call`, it counts as in progress, its body's bytes are given back, and one canonical log line and
the numbers of `metrics.py` end it, unless it broke, which the server tells. Acknowledged batches,
of which there are many, are logged only at level debug.

    with self._frame.around(scope, Boundary.SHARED, service="mcp", method="tools") as visit:
        answer = await self._answer(visit.call, scope, receive)
        visit.status = answer.status
        await send_whole(send, answer)

`door` makes the route. Who may call from a web page says `cors.py`; who goes away, `leaving.py`.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final

import structlog
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Receive, Scope, Send
from msgspec import Struct

from appliance.api.address import TrustedProxies
from appliance.api.call import Boundary, Call, current_call
from appliance.api.limits import BodyBudget, BodyLease
from appliance.api.metrics import IN_PROGRESS, REQUESTS, SECONDS
from appliance.api.protocols import Answer, Headers
from appliance.base.clock import Clock
from appliance.base.ids import IdMaker

SAFETY_HEADERS: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]
"""Headers that every answer has."""

_log = structlog.get_logger()


class Visit(Struct, kw_only=True):
    """One request within the frame; a door says what became of it.

    `service` and `method` are labels of metrics: of closed sets, never what a caller sent.
    `status` is the HTTP status that was answered, `code` what the log line and the numbers say
    where that is not the code of the call.
    """

    call: Call
    service: str
    method: str
    status: int = 0
    code: str = ""


class Frame:
    """Makes a call of a request, and ends it; one for all doors."""

    def __init__(
        self, *, proxies: TrustedProxies, bodies: BodyBudget, clock: Clock, ids: IdMaker
    ) -> None:
        self._proxies = proxies
        self._bodies = bodies
        self._clock = clock
        self._ids = ids

    @contextmanager
    def around(
        self,
        scope: HTTPScope,
        boundary: Boundary,
        *,
        service: str,
        method: str,
        request_id: str | None = None,
    ) -> Generator[Visit]:
        """A request of this boundary, nobody's yet: authentication is the door's own.

        `request_id` is that of the request which this one is made for, when a door passes it on.
        """
        started = self._clock.monotonic_seconds()
        with self.opened(scope, boundary, request_id=request_id) as call:
            visit = Visit(call=call, service=service, method=method)
            IN_PROGRESS.inc()
            try:
                yield visit
                _finish(visit, self._clock.monotonic_seconds() - started)
            finally:
                IN_PROGRESS.dec()

    @contextmanager
    def opened(
        self, scope: HTTPScope, boundary: Boundary, *, request_id: str | None = None
    ) -> Generator[Call]:
        """A call alone, for a door that tells and counts its requests in a way of its own."""
        sender = self._proxies.sender(scope)
        call = Call(
            request_id=request_id or self._ids.make(),
            boundary=boundary,
            headers=sender.headers,
            peer=sender.peer,
            address=sender.address,
            lease=BodyLease(self._bodies),
        )
        token = current_call.set(call)
        try:
            yield call
        finally:
            call.close()
            current_call.reset(token)


def door(
    path: str,
    serve: Callable[[HTTPScope, Receive, Send], Awaitable[None]],
    *,
    with_below: bool = False,
) -> ASGIRouteHandler:
    """The route of a path, or with everything below it."""

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await serve(scope, receive, send)

    return asgi(path, is_mount=with_below, copy_scope=False)(enter)


def made_safe(answer: Answer) -> Answer:
    """The answer with those of `SAFETY_HEADERS` that it does not set itself."""
    names = {name for name, _ in answer.headers}
    missing = [pair for pair in SAFETY_HEADERS if pair[0] not in names]
    return Answer(status=answer.status, headers=[*answer.headers, *missing], body=answer.body)


async def send_whole(send: Send, answer: Answer, *, has_body: bool = True) -> None:
    """Send an answer with its length; without its body where HEAD was asked."""
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = answer.body if has_body else b""
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _finish(visit: Visit, seconds: float) -> None:
    call = visit.call
    code = visit.code or call.code
    REQUESTS.labels(visit.service, visit.method, code).inc()
    SECONDS.labels(visit.service, visit.method).observe(seconds)
    quiet = call.boundary is Boundary.SDK and code == "ok"
    write = _log.debug if quiet else _log.info
    write(
        "request_finished",
        service=visit.service,
        method=visit.method,
        status=visit.status,
        code=code,
        reason=call.reason or None,
        seconds=round(seconds, 6),
        request_id=call.request_id,
        project=call.principal.project_id if call.principal else None,
        events=call.events,
        dropped=call.dropped,
        **call.error_fields,
    )
