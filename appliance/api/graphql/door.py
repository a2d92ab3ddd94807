"""`POST /graphql`: the way of a question, from the socket to the graph and back.

Invariant: method, content type, caller, size, then the question itself; whoever says no says it as
GraphQL does, with our reason in `extensions`. No answer carries CORS headers, so no page of another
origin reads one. The graph is imported when the first question comes, in a thread: until then it
costs neither memory nor time. Questions are never logged.
"""

import asyncio
import sys
import threading
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Receive, Send

from appliance.api import web
from appliance.api.call import Boundary, Call
from appliance.api.errors import undecodable
from appliance.api.frame import Frame, door, made_safe, send_whole
from appliance.api.graphql.credentials import asking_caller
from appliance.api.graphql.telling import Told, refused
from appliance.api.leaving import unless_gone
from appliance.api.limits import discard, limited, too_large, whole_body
from appliance.api.ports import Services
from appliance.api.protocols import Answer, Headers, media_type
from appliance.base.errors import HTTP_STATUS, ConnectCode, TimedOutError

if TYPE_CHECKING:
    from appliance.api.graphql.run import Engine

PATH: Final = "/graphql"
BODY_BYTES_MAX: Final = 256 << 10
"""A question with its variables; larger ones are no questions."""
ANSWER_SECONDS_MAX: Final = 60.0

_SERVICE: Final = "graphql"
_METHOD: Final = "query"
_JSON: Final = b"application/json; charset=utf-8"
_OK: Final = 200
_GONE: Final = HTTP_STATUS[ConnectCode.CANCELED]
_GRAPHQL_JSON: Final = "application/graphql-response+json"
_PLAYGROUND: Final = Path(__file__).with_name("playground.html")


class GraphQLDoor:
    """Answers questions about everything a caller may see."""

    def __init__(
        self, services: Services, *, body_bytes_max: int, development: bool, frame: Frame
    ) -> None:
        self._services = services
        self._body_bytes_max = min(body_bytes_max, BODY_BYTES_MAX)
        self._development = development
        self._frame = frame
        self._loading = asyncio.Lock()
        self._engine: Engine | None = None
        self._secure = services.control.oidc.base_url.startswith("https://")

    def handler(self) -> ASGIRouteHandler:
        """The one path."""
        return door(PATH, self._serve)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        with self._frame.around(scope, Boundary.SHARED, service=_SERVICE, method=_METHOD) as visit:
            answer = await self._answer(scope, visit.call, receive)
            if answer is None:
                visit.status, visit.code = _GONE, ConnectCode.CANCELED.value
                return
            visit.status = answer.status
            if answer.status != _OK and visit.call.code == "ok":
                visit.code = f"http_{answer.status}"
            await send_whole(send, made_safe(answer))

    async def _answer(self, scope: HTTPScope, call: Call, receive: Receive) -> Answer | None:
        """The answer; None when the caller has gone."""
        refusal = self._without_question(scope, call)
        if refusal is not None:
            await discard(receive, self._body_bytes_max)
            return refusal
        try:
            told = await self._ask(call, receive)
        except Exception as error:  # noqa: BLE001 the last door before the socket
            told = refused(error, call)
            await discard(receive, self._body_bytes_max)
        if told is None:
            return None
        wanted = _GRAPHQL_JSON in call.headers.get("accept", "")
        return Answer(
            status=told.status,
            headers=[
                (b"content-type", _GRAPHQL_JSON.encode() if wanted else _JSON),
                *_retry_after(call),
            ],
            body=told.body,
        )

    def _without_question(self, scope: HTTPScope, call: Call) -> Answer | None:
        """What is answered to a request that asks nothing."""
        if scope["method"] == "GET" and self._development:
            return web.page(_PLAYGROUND.read_text(encoding="utf-8"))
        if scope["method"] != "POST":
            return Answer(status=405, headers=[(b"allow", b"POST")])
        encoded = call.headers.get("content-encoding", "identity") != "identity"
        if encoded or media_type(call.headers.get("content-type", "")) != "application/json":
            return Answer(status=415, headers=[(b"accept-post", b"application/json")])
        return None

    async def _ask(self, call: Call, receive: Receive) -> Told | None:
        caller = await asking_caller(
            call.headers,
            self._services.keys,
            self._services.control.access,
            secure=self._secure,
        )
        call.principal, call.signed_in = caller.principal, caller.signed_in
        body = await self._body(call, receive)
        engine = await self._loaded()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await unless_gone(engine.answer(self._services, call, body), receive)
        except TimeoutError as error:
            raise TimedOutError(
                "DEADLINE_EXCEEDED", f"no answer within {ANSWER_SECONDS_MAX:g} seconds"
            ) from error

    async def _body(self, call: Call, receive: Receive) -> bytes:
        length = call.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._body_bytes_max:
            raise too_large(self._body_bytes_max)
        body = await whole_body(limited(receive, self._body_bytes_max))
        if body is None:
            raise undecodable("the body ended before its end")
        return body

    async def _loaded(self) -> "Engine":
        async with self._loading:
            if self._engine is None:
                self._engine = await asyncio.to_thread(_load, self._development)
            return self._engine


def _load(development: bool) -> "Engine":  # noqa: FBT001 handed to a thread
    """Import the graph; the library's hooks for uncaught errors are put away again."""
    hooks = sys.excepthook, threading.excepthook
    from appliance.api.graphql.run import Engine  # noqa: PLC0415 13 MB that few need

    sys.excepthook, threading.excepthook = hooks
    return Engine(development=development)


def _retry_after(call: Call) -> Headers:
    if call.retry_seconds is None:
        return []
    return [(b"retry-after", str(max(1, ceil(call.retry_seconds))).encode())]
