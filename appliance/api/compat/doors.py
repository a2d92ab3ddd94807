"""The endpoints of other products, as one table of paths and one way of a request through it.

Invariant: an answer of success is given only after everything is safe; every refusal carries a
status upon which the client does the right thing (keep and repeat, or give up [compat-ingest 1,
2]), a JSON body and the CORS headers. What stands around a request: `frame.py`.
What the calls mean: `domain/compat/`; what is done: `services/compat.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from connectrpc.code import Code
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Receive, Send
from msgspec import Struct

from appliance.api.call import Boundary, Call
from appliance.api.compat import replies
from appliance.api.compat.bodies import Incoming, decode, read_query
from appliance.api.compat.cors import answer_headers
from appliance.api.compat.credentials import key_of_body, key_of_request, whose
from appliance.api.cors import is_preflight
from appliance.api.errors import wire_error
from appliance.api.frame import SAFETY_HEADERS, Frame, door, send_whole
from appliance.api.ports import Ingest, Keys
from appliance.api.protocols import Answer, refusal
from appliance.base.clock import Clock
from appliance.base.errors import NotFoundError
from appliance.domain.compat.mapped import Mapped, Reception
from appliance.domain.compat.posthog import map_posthog
from appliance.domain.compat.reading import as_list, as_object, read_instant
from appliance.domain.compat.segment import CALLS, map_segment
from appliance.domain.ingest.facts import gather_facts
from appliance.services.compat import CompatService

_GET, _POST = "GET", "POST"
_BUSY: Final = 503
_SENDING_TIMES: Final = ("sentAt", "sent_at")
_POSTHOG: Final = "compat.posthog"
_SEGMENT: Final = "compat.segment"


class Door(Struct, frozen=True, kw_only=True):
    """One endpoint. `take` maps calls; an endpoint without it only answers. With `below`, the
    endpoint is that name below the path and a key.
    """

    path: str
    below: str | None = None
    service: str
    name: str
    methods: tuple[str, ...] = (_POST,)
    take: Callable[[list[object], Reception], Mapped] | None = None
    success: Mapping[str, object] | None = None


def _segment(call_type: str | None) -> Callable[[list[object], Reception], Mapped]:
    return lambda calls, reception: map_segment(calls, reception, call_type=call_type)


def _segment_doors() -> Iterable[Door]:
    for path in ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"):
        yield Door(
            path=path,
            service=_SEGMENT,
            name="batch",
            take=_segment(None),
            success=replies.SEGMENT_SUCCESS,
        )
    for short, name in CALLS.items():
        yield Door(
            path=f"/v1/{short}",
            service=_SEGMENT,
            name=name,
            take=_segment(name),
            success=replies.SEGMENT_SUCCESS,
        )
    yield Door(path="/v1/m", service=_SEGMENT, name="metrics", success=replies.SEGMENT_SUCCESS)
    yield Door(
        path="/v1/projects",
        below="settings",
        service=_SEGMENT,
        name="settings",
        methods=(_GET,),
    )
    yield Door(path="/sourceConfig", service=_SEGMENT, name="source", methods=(_GET,))


def _posthog_doors() -> Iterable[Door]:
    for path in ("/batch", "/e", "/capture", "/track", "/engage", "/i/v0/e"):
        yield Door(
            path=path,
            service=_POSTHOG,
            name="batch" if path == "/batch" else "capture",
            methods=(_POST, _GET),
            take=map_posthog,
            success=replies.POSTHOG_SUCCESS,
        )
    yield Door(
        path="/i/v1/analytics/events",
        service=_POSTHOG,
        name="capture",
        take=map_posthog,
        success=replies.POSTHOG_V1_SUCCESS,
    )
    for path in ("/flags", "/decide"):
        yield Door(path=path, service=_POSTHOG, name="flags", success=replies.POSTHOG_FLAGS)
    yield Door(
        path="/array",
        below="config",
        service=_POSTHOG,
        name="config",
        methods=(_GET,),
        success=replies.POSTHOG_CONFIG,
    )


DOORS: Final = (*_segment_doors(), *_posthog_doors())
"""Every endpoint; a trailing slash counts for nothing."""


class CompatDoors:
    """Answers other products' clients."""

    def __init__(
        self,
        service: CompatService,
        ingest: Ingest,
        *,
        keys: Keys,
        body_bytes_max: int,
        clock: Clock,
        frame: Frame,
    ) -> None:
        self._service = service
        self._ingest = ingest
        self._keys = keys
        self._body_bytes_max = body_bytes_max
        self._clock = clock
        self._frame = frame

    def handlers(self) -> list[ASGIRouteHandler]:
        """One for each endpoint."""
        return [self._handler(one) for one in DOORS]

    def _handler(self, endpoint: Door) -> ASGIRouteHandler:
        async def serve(scope: HTTPScope, receive: Receive, send: Send) -> None:
            await self._serve(endpoint, scope, receive, send)

        return door(endpoint.path, serve, with_below=endpoint.below is not None)

    async def _serve(self, door: Door, scope: HTTPScope, receive: Receive, send: Send) -> None:
        with self._frame.around(
            scope, Boundary.SDK, service=door.service, method=door.name
        ) as visit:
            answer = await self._answer(door, visit.call, scope, receive)
            visit.status = answer.status
            headers = [*answer.headers, *answer_headers(visit.call.headers), *SAFETY_HEADERS]
            await send_whole(send, Answer(status=answer.status, headers=headers, body=answer.body))

    async def _answer(self, door: Door, call: Call, scope: HTTPScope, receive: Receive) -> Answer:
        if is_preflight(scope["method"], call.headers):
            return Answer(status=204, headers=[])
        if scope["method"] not in door.methods:
            allowed = ", ".join(door.methods).encode()
            return Answer(status=405, headers=[(b"allow", allowed)])
        body = Incoming(receive, self._body_bytes_max)
        try:
            answer = await self._step(door, call, scope, body)
        except Exception as error:  # noqa: BLE001 the last door before the socket
            answer = _refused(door, error)
        if scope["method"] == _POST:
            await body.discard()
        return answer

    async def _step(self, door: Door, call: Call, scope: HTTPScope, incoming: Incoming) -> Answer:
        query = read_query(scope["query_string"])
        *_, key, last = ("", "", *scope["path"].strip("/").split("/"))
        if door.below not in {None, last}:
            raise NotFoundError("NOT_FOUND", "nothing is served here")
        if door.take is not None:
            await self._take(door.take, call, query, await self._body(scope, query, incoming, call))
            return replies.reply(door.success)
        if door.success is not None:
            return replies.reply(door.success)
        if door.name == "source":
            return replies.reply(replies.rudder_source(key_of_request(call.headers, query) or ""))
        host = call.headers.get("x-forwarded-host") or call.headers.get("host", "")
        secure = (call.headers.get("x-forwarded-proto") or scope["scheme"]) == "https"
        return replies.reply(replies.segment_settings(key, host, secure=secure))

    async def _body(
        self, scope: HTTPScope, query: Mapping[str, str], incoming: Incoming, call: Call
    ) -> object:
        """The decoded body, after the key's project is known where the key is not in the body."""
        key = key_of_request(call.headers, query)
        if key is not None:
            await self._admit(call, key)
        if scope["method"] == _GET:
            packed = query.get("data", "").replace(" ", "+").encode()
        else:
            packed = await incoming.read()
        body = decode(
            packed,
            encoding=call.headers.get("content-encoding", ""),
            bytes_max=self._body_bytes_max,
        )
        if key is None:
            await self._admit(call, key_of_body(body))
        return body

    async def _admit(self, call: Call, key: str | None) -> None:
        call.principal = await whose(self._keys, key)
        self._ingest.admit(call.principal)

    async def _take(
        self,
        mapping: Callable[[list[object], Reception], Mapped],
        call: Call,
        query: Mapping[str, str],
        body: object,
    ) -> None:
        whole = as_object(body)
        calls = as_list(body) or (as_list(whole.get("batch")) if "batch" in whole else [body])
        reception = Reception(
            project_id=call.caller.project_id,
            received_ms=int(self._clock.now().timestamp() * 1000),
            sent_ms=_sent_ms(whole, query),
        )
        mapped = mapping(calls, reception)
        facts = gather_facts(call.headers.items(), peer=call.peer)
        outcome = await self._service.accept(call.caller, mapped, facts)
        call.events = outcome.accepted
        call.dropped = outcome.refused


def _sent_ms(whole: Mapping[str, object], query: Mapping[str, str]) -> int | None:
    """What the sender's clock said when it sent the request."""
    for name in _SENDING_TIMES:
        told = read_instant(whole.get(name))
        if told is not None:
            return told
    moment = query.get("_", "")
    return read_instant(int(moment)) if moment.isascii() and moment.isdigit() else None


def _refused(door: Door, error: Exception) -> Answer:
    """PostHog's browser client gives up upon 429, so it is told to come again in another way."""
    wire = wire_error(error)
    busy = door.service == _POSTHOG and wire.code is Code.RESOURCE_EXHAUSTED
    return refusal(wire, content_type="", status=_BUSY if busy else None)
