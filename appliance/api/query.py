"""`POST /query`: SQL of an expert about the rows of the credential's project.

Invariant: who is calling, for which project and with which role is settled before the body is
read; the answer is whole or an error with a status; a caller who goes away takes the query along.
What a query may be is decided in `services/expert_sql.py`; described in `docs/expert-sql.md`.

The body is the query itself (`text/plain`, `application/sql`) or JSON: `{"query": …, "format": …}`.
A query labelled as a form, which is what curl does by itself, is read where it plainly is one. That
opens nothing to pages of others, which can send forms unasked: what counts here is a header that no
browser sends by itself, never a cookie.
The form of the answer is named there, by `?format=`, or by `Accept`.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import msgspec
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPScope, Receive, Send

from appliance.api.authenticate import admit
from appliance.api.authorize import check_role
from appliance.api.call import Boundary, Call
from appliance.api.compat.bodies import Incoming, read_query
from appliance.api.cors import CorsPolicy, is_preflight
from appliance.api.errors import undecodable, wire_error
from appliance.api.frame import SAFETY_HEADERS, Frame, Visit, door, send_whole
from appliance.api.leaving import unless_gone
from appliance.api.ports import Access, Keys
from appliance.api.protocols import Answer, Headers, media_type, refusal
from appliance.base.errors import InvalidInputError, UnauthenticatedError
from appliance.domain.access.permissions import EXPERT_SQL
from appliance.domain.expert_sql.answers import MEDIA_TYPES, Form
from appliance.services.expert_sql import ExpertSqlService

PATH: Final = "/query"
BODY_BYTES_MAX: Final = 256 << 10
_PLAIN: Final = frozenset({"", "text/plain", "application/sql"})
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_PLAINLY_SQL: Final = re.compile(r"[\s(]*(?:select|with)\s", re.IGNORECASE)
_TO_THE_END_OF_LINE: Final = re.compile(r"--|#[ !]")
"""Comments that `curl --data @FILE`, which drops ends of lines, would stretch over the rest."""
_ACCEPTED: Final = {media_type(kind): form for form, kind in MEDIA_TYPES.items()} | {
    "application/x-parquet": Form.PARQUET
}


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    query: str
    format: str = ""


class QueryDoor:
    """Serves one path."""

    def __init__(
        self,
        service: ExpertSqlService,
        *,
        keys: Keys,
        access: Access,
        cors: CorsPolicy,
        frame: Frame,
    ) -> None:
        self._service = service
        self._keys = keys
        self._access = access
        self._cors = cors
        self._frame = frame

    def handler(self) -> ASGIRouteHandler:
        """The route."""
        return door(PATH, self._serve)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        with self._frame.around(scope, Boundary.SHARED, service="query", method="sql") as visit:
            cors = self._cors.headers(Boundary.SHARED, scope["method"], visit.call.headers)
            incoming = Incoming(receive, BODY_BYTES_MAX)
            answering = _Answering(send, [*cors, *SAFETY_HEADERS])
            try:
                await self._step(visit, scope, incoming, receive, answering)
            except Exception as error:
                if answering.started:
                    visit.status, visit.code = 200, "cut"
                    raise
                await incoming.discard()
                await answering.refuse(error)
            visit.status = answering.status

    async def _step(
        self,
        visit: Visit,
        scope: HTTPScope,
        incoming: Incoming,
        receive: Receive,
        answering: "_Answering",
    ) -> None:
        call = visit.call
        if is_preflight(scope["method"], call.headers):
            await answering.whole(Answer(status=204, headers=[]))
            return
        if scope["method"] != "POST":
            await answering.whole(Answer(status=405, headers=[(b"allow", b"POST")]))
            return
        await self._admit(call, scope)
        asked = _read(call.headers, await incoming.read())
        form = _form(asked.format, read_query(scope["query_string"]), call.headers)
        await unless_gone(self._answer(call, asked.query, form, answering), receive)

    async def _admit(self, call: Call, scope: HTTPScope) -> None:
        await admit(call, scope["query_string"], self._keys, self._access)
        if call.principal is None:
            raise UnauthenticatedError("UNAUTHENTICATED", "a project is needed: send x-project-id")
        if call.signed_in is not None and call.signed_in.project is not None:
            check_role(EXPERT_SQL, call.signed_in.project.role)

    async def _answer(self, call: Call, sql: str, form: Form, answering: "_Answering") -> None:
        signed_in = call.signed_in
        org_id = signed_in.project.org_id if signed_in and signed_in.project else ""
        async with self._service.ask(
            call.actor, project_id=call.caller.project_id, sql=sql, form=form, org_id=org_id
        ) as pieces:
            await answering.stream(pieces, MEDIA_TYPES[form])


class _Answering:
    """The way back: nothing is sent before the engine has the whole answer."""

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        self.status = 0
        self.started = False

    async def whole(self, answer: Answer) -> None:
        """Send an answer of our own."""
        self.status, self.started = answer.status, True
        headers = [*answer.headers, *self._headers]
        await send_whole(
            self._send, Answer(status=answer.status, headers=headers, body=answer.body)
        )

    async def refuse(self, error: Exception) -> None:
        """Say no in JSON, whatever was asked for."""
        await self.whole(refusal(wire_error(error), content_type=""))

    async def stream(self, pieces: AsyncGenerator[bytes], kind: str) -> None:
        """Pass the bytes of the engine on; an error of its first ones is an error of the call."""
        async for piece in pieces:
            await self._begin(kind)
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._begin(kind)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, kind: str) -> None:
        if self.started:
            return
        self.status, self.started = 200, True
        headers = [(b"content-type", kind.encode()), *self._headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})


def _read(headers: Mapping[str, str], body: bytes) -> _Asked:
    kind = media_type(headers.get("content-type", ""))
    try:
        if kind == _JSON:
            return msgspec.json.decode(body, type=_Asked)
        if kind in _PLAIN:
            return _Asked(query=body.decode())
        if kind == _FORM:
            return _Asked(query=_plainly_sql(body.decode()))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable('the body is not {"query": "SELECT …", "format": "csv"}') from error
    raise _mislabelled(f"{kind} is no type of a query")


def _plainly_sql(text: str) -> str:
    """The text of a body that says it is a form; refused when it may be one, or was cut up."""
    if not _PLAINLY_SQL.match(text):
        raise _mislabelled("a form is no query")
    if _TO_THE_END_OF_LINE.search(text):
        raise _mislabelled("a query with comments cannot be sent as a form")
    return text


def _mislabelled(problem: str) -> ConnectError:
    remedy = "send it with -H 'content-type: text/plain' and --data-binary, or as application/json"
    return wire_error(ConnectError(Code.INVALID_ARGUMENT, f"{problem}: {remedy}"))


def _form(named: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Form:
    name = named or query.get("format", "")
    if name:
        try:
            return Form(name)
        except ValueError as error:
            forms = ", ".join(form.value for form in Form)
            raise InvalidInputError("INVALID_ARGUMENT", f"the format is one of {forms}") from error
    for kind in headers.get("accept", "").split(","):
        found = _ACCEPTED.get(media_type(kind))
        if found is not None:
            return found
    return Form.JSON
