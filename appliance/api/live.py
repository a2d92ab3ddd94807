"""`GET /live`: events and visitors of a project as they arrive, as server-sent events.

Invariant: the same credentials and the same right as the event explorer, and asked again and again
while the stream lasts: a revoked key ends it within a second, a lost membership or an expired token
within `CUSTOMER_CHECK_SECONDS`. A reader that is slow or gone holds nobody: what waits for it is
bounded, and a write that hangs ends its stream. Nothing is repeated: frames carry no id. The frames
are described in `docs/live.md`; where they come from is `services/live.py`.
"""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

import structlog
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Receive, Send

from appliance.api.authenticate import admit
from appliance.api.authorize import authorize
from appliance.api.call import Boundary, Call
from appliance.api.cors import CorsPolicy, is_preflight
from appliance.api.errors import wire_error
from appliance.api.frame import SAFETY_HEADERS, Frame, door, send_whole
from appliance.api.leaving import until_gone
from appliance.api.metrics import LIVE_WATCHERS
from appliance.api.ports import Access, Keys
from appliance.api.protocols import Answer, Headers, refusal
from appliance.base.clock import Clock
from appliance.base.errors import (
    ApplianceError,
    InvalidInputError,
    UnavailableError,
)
from appliance.domain.live import LiveFilter, Note, NoteKind, parse_filter
from appliance.services.live import LiveService
from appliance.services.live_watcher import Watcher

PATH: Final = "/live"
RIGHT: Final = "shared.activity.v1.ActivityService/GetEventExplorer"
"""Whoever may call this may watch: both show the same events."""
BEAT_SECONDS: Final = 15.0
FLUSH_SECONDS: Final = 0.5
"""Between two writes to one reader: what arrives meanwhile is told together."""
SEND_SECONDS_MAX: Final = 30.0
KEY_CHECK_SECONDS: Final = 0.4
"""Answered from memory, which is never older than half a second (`services/key_changes.py`)."""
CUSTOMER_CHECK_SECONDS: Final = 5.0
BLIND_SECONDS_MAX: Final = 60.0
"""How long a stream goes on while nobody can tell whether its reader may read."""
GOODBYE_SECONDS_MAX: Final = 0.5
QUERY_BYTES_MAX: Final = 16 << 10
FIELDS_MAX: Final = 64
RETRY_MS: Final = 3000
_STREAM: Final[Headers] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events until it has a page of them
]
_HELLO: Final = b"retry: %d\n: watching\n\n" % RETRY_MS
_BEAT: Final = b": beat\n\n"

_log = structlog.get_logger()


class LivePage:
    """Serves the streams of one process."""

    def __init__(
        self,
        live: LiveService,
        *,
        keys: Keys,
        access: Access,
        cors: CorsPolicy,
        clock: Clock,
        frame: Frame,
    ) -> None:
        self._live = live
        self._keys = keys
        self._access = access
        self._cors = cors
        self._clock = clock
        self._frame = frame

    def handler(self) -> ASGIRouteHandler:
        """The one path."""
        return door(PATH, self._serve)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        began = self._clock.monotonic_seconds()
        with self._frame.opened(scope, Boundary.SHARED) as call:
            cors = self._cors.headers(call.boundary, scope["method"], call.headers)
            stream = _Stream(send, [*cors, *SAFETY_HEADERS])
            ended = await self._answer(scope, call, receive, stream)
        _log.info(
            "live_view_ended",
            request_id=call.request_id,
            project=call.principal.project_id if call.principal else None,
            status=stream.status,
            code=call.code,
            reason=ended or call.reason or None,
            events=stream.events,
            seconds=round(self._clock.monotonic_seconds() - began, 3),
        )

    async def _answer(
        self, scope: HTTPScope, call: Call, receive: Receive, stream: "_Stream"
    ) -> str:
        """Answer the request; returns why a stream ended."""
        if is_preflight(scope["method"], call.headers):
            await stream.answer(Answer(status=204, headers=[]))
            return ""
        if scope["method"] != "GET":
            await stream.answer(Answer(status=405, headers=[(b"allow", b"GET")]))
            return ""
        try:
            wanted = read_filter(scope["query_string"])
            await self._admit(call)
            async with self._live.watch(call.caller.project_id, wanted) as watcher:
                await stream.begin()
                return await self._keep_telling(call, watcher, receive, stream)
        except Exception as error:
            if stream.status:
                raise
            await stream.answer(refusal(wire_error(error), content_type=""))
        return ""

    async def _keep_telling(
        self, call: Call, watcher: Watcher, receive: Receive, stream: "_Stream"
    ) -> str:
        """Tell until the reader is gone, may not read any more, or there is nothing to come."""
        telling = asyncio.ensure_future(tell(watcher, stream))
        gone = asyncio.ensure_future(until_gone(receive))
        barred = asyncio.ensure_future(self._until_barred(call, watcher))
        over = asyncio.ensure_future(watcher.over.wait())
        tasks = {telling, gone, barred, over}
        LIVE_WATCHERS.inc()
        try:
            await asyncio.wait({telling, gone, over}, return_when=asyncio.FIRST_COMPLETED)
            if over.done():  # whoever reads hears why; nobody waits for those who do not
                await asyncio.wait({telling, gone}, timeout=GOODBYE_SECONDS_MAX)
            if telling.done():
                return telling.result()
            return "GONE" if gone.done() else "READER_TOO_SLOW"
        finally:
            LIVE_WATCHERS.dec()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _admit(self, call: Call) -> None:
        """Return when the caller may watch the project that the credential names."""
        await admit(call, b"", self._keys, self._access)
        await authorize(RIGHT, None, call, self._access)

    async def _until_barred(self, call: Call, watcher: Watcher) -> None:
        """Ask again at intervals; bar a reader who may not read any more."""
        project_id = call.caller.project_id
        every = KEY_CHECK_SECONDS if call.signed_in is None else CUSTOMER_CHECK_SECONDS
        sure_at = self._clock.monotonic_seconds()
        while not watcher.over.is_set():
            await asyncio.sleep(every)
            try:
                await self._admit(call)
            except UnavailableError as error:
                if self._clock.monotonic_seconds() - sure_at > BLIND_SECONDS_MAX:
                    watcher.bar(error.reason)
            except ApplianceError as error:
                watcher.bar(error.reason)
            else:
                sure_at = self._clock.monotonic_seconds()
                if call.caller.project_id != project_id:
                    watcher.bar("UNAUTHENTICATED")


class _Stream:
    """The way back to one reader."""

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        self.status = 0
        self.events = 0

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer."""
        self.status = answer.status
        headers = [*answer.headers, *self._headers]
        whole = Answer(status=answer.status, headers=headers, body=answer.body)
        await send_whole(self._send, whole)

    async def begin(self) -> None:
        """Begin to stream."""
        self.status = 200
        headers = [*_STREAM, *self._headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.write(_HELLO)

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """Send bytes; raises the builtin TimeoutError when the reader takes none for too long."""
        async with asyncio.timeout(SEND_SECONDS_MAX):
            await self._send({"type": "http.response.body", "body": body, "more_body": not last})


async def tell(watcher: Watcher, stream: _Stream) -> str:
    """Write what a watcher is told until it ends; returns why."""
    while True:
        notes = await watcher.take(wait_seconds=BEAT_SECONDS)
        ended = bool(notes) and notes[-1].kind is NoteKind.END
        stream.events += sum(note.kind is NoteKind.EVENT for note in notes)
        try:
            await stream.write(b"".join(map(render_note, notes)) or _BEAT, last=ended)
        except TimeoutError:
            return "READER_TOO_SLOW"
        if ended:
            return "TOLD_WHY"
        await asyncio.sleep(FLUSH_SECONDS)


def render_note(note: Note) -> bytes:
    """A note as a server-sent event."""
    assert b"\n" not in note.body, "a frame is one line"
    return b"event: %s\ndata: %s\n\n" % (note.kind.value.encode(), note.body)


def read_filter(query: bytes) -> LiveFilter:
    """`kind` (any number of times) and `distinct_id` of a query.

    Raises InvalidInputError (`INVALID_LIVE_FILTER`), also for what it does not know.
    """
    unreadable = InvalidInputError("INVALID_LIVE_FILTER", "the query cannot be read")
    if len(query) > QUERY_BYTES_MAX:
        raise unreadable
    try:
        text = query.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise unreadable from error
    unknown = {name for name, _ in pairs} - {"kind", "distinct_id"}
    ids = [value for name, value in pairs if name == "distinct_id"]
    if unknown or len(ids) > 1:
        raise InvalidInputError(
            "INVALID_LIVE_FILTER", "a live view knows kind, and distinct_id once"
        )
    return parse_filter([value for name, value in pairs if name == "kind"], "".join(ids))
