"""The way of a call: what is asked, in which order, before the protocol library gets it.

Invariant: correlation id, CORS, authentication, then method, content type and size, then decoding,
schema, role and handler [services 2.3]; whoever says no says it in the caller's protocol and with
the CORS headers of the boundary. What stands around a call: `frame.py`.
"""

from collections.abc import Callable, Mapping
from typing import Final, cast

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from litestar.types import HTTPScope, Message, Receive, Scope, Send

from appliance.api import grpc_web_text
from appliance.api.authenticate import admit
from appliance.api.call import Boundary, Call, current_call
from appliance.api.cors import CorsPolicy, is_preflight
from appliance.api.errors import wire_error
from appliance.api.frame import SAFETY_HEADERS, Frame, send_whole
from appliance.api.limits import discard, limited, too_large
from appliance.api.ports import Access, Keys, Principal
from appliance.api.protocols import (
    ACCEPT_POST,
    Answer,
    Headers,
    Protocol,
    protocol_of,
    refusal,
    retry_after,
)
from appliance.api.rpc.registry import MountedService
from appliance.base.errors import ApplianceError

_TRAILERS: Final = "http.response.trailers"
_STATUS_CODES: Final[dict[int, Code]] = {503: Code.UNAVAILABLE, 429: Code.RESOURCE_EXHAUSTED}
_NO_TRAILERS: Final = (
    "this port has no HTTP trailers, which gRPC needs; use Connect, gRPC-Web, or the port that "
    "the setting api.grpc_port opens"
)


class Refused(Exception):  # noqa: N818 an outcome on its way, not a failure
    """A call that ends before its handler."""

    def __init__(
        self, error: ConnectError, *, status: int | None = None, headers: Headers | None = None
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status
        self.headers = headers or []


class Gateway:
    """Carries calls from the socket to the services."""

    def __init__(
        self,
        *,
        keys: Keys,
        access: Access,
        cors: CorsPolicy,
        body_bytes_max: int,
        frame: Frame,
    ) -> None:
        self._keys = keys
        self._access = access
        self._cors = cors
        self._body_bytes_max = body_bytes_max
        self._frame = frame

    async def serve(
        self,
        service: MountedService,
        method: str,
        scope: HTTPScope,
        receive: Receive,
        send: Send,
        *,
        request_id: str | None = None,
    ) -> None:
        """Answer one request for `method` of `service`, whatever it is.

        `request_id` is that of the outer request when another door passes a call on.
        """
        known = method if method in service.methods else "-"
        with self._frame.around(
            scope, service.boundary, service=service.name, method=known, request_id=request_id
        ) as visit:
            call = visit.call
            cors = self._cors.headers(call.boundary, scope["method"], call.headers)
            outgoing = _Outgoing(send, cors, call)
            await self._answer(call, service, method, scope, receive, outgoing)
            visit.status = outgoing.status
            if call.code == "ok" and outgoing.status != 200:  # noqa: PLR2004 HTTP's own number
                visit.code = f"http_{outgoing.status}"

    async def _answer(
        self,
        call: Call,
        service: MountedService,
        method: str,
        scope: HTTPScope,
        receive: Receive,
        outgoing: "_Outgoing",
    ) -> None:
        headers = call.headers
        if is_preflight(scope["method"], headers):
            await outgoing.answer(Answer(status=204, headers=[]))
            return
        content_type = headers.get("content-type", "")
        protocol = protocol_of(content_type)
        try:
            await self._admit(call, scope)
            self._check(service, method, scope, protocol)
            if service.admit is not None:
                _ask(service.admit, call.caller)
        except Refused as refused:
            answer = refusal(refused.error, content_type=content_type, status=refused.status)
            await discard(receive, self._body_bytes_max)
            await outgoing.answer(
                Answer(
                    status=answer.status,
                    headers=[*answer.headers, *refused.headers],
                    body=answer.body,
                )
            )
            return
        await self._pass_on(service, method, scope, protocol, receive, outgoing)

    async def _admit(self, call: Call, scope: HTTPScope) -> None:
        try:
            await admit(call, scope["query_string"], self._keys, self._access)
        except Exception as error:
            raise Refused(wire_error(error)) from error

    def _check(
        self, service: MountedService, method: str, scope: HTTPScope, protocol: Protocol | None
    ) -> None:
        streams = service.methods.get(method)
        if streams is None:
            raise _refused(Code.UNIMPLEMENTED, "the service has no such method", status=404)
        if scope["method"] != "POST":
            raise _refused(
                Code.UNIMPLEMENTED,
                "calls are made with POST",
                status=405,
                headers=[(b"allow", b"POST")],
            )
        unary, stream = Protocol.CONNECT_UNARY, Protocol.CONNECT_STREAM
        if protocol is None or protocol is (unary if streams else stream):
            raise _refused(
                Code.INVALID_ARGUMENT,
                "the content type is not one this method understands",
                status=415,
                headers=[(b"accept-post", ACCEPT_POST)],
            )
        if protocol is Protocol.GRPC and not _has_trailers(scope):
            raise _refused(Code.UNIMPLEMENTED, _NO_TRAILERS)
        length = current_call.get().headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._body_bytes_max:
            raise Refused(too_large(self._body_bytes_max))

    async def _pass_on(
        self,
        service: MountedService,
        method: str,
        scope: HTTPScope,
        protocol: Protocol | None,
        receive: Receive,
        outgoing: "_Outgoing",
    ) -> None:
        # The library reads headers as UTF-8 and breaks on others; what it needs is ASCII.
        headers = [pair for pair in scope["headers"] if pair[1].isascii()]
        bounded = limited(receive, self._body_bytes_max)
        answer: Send = outgoing
        if service.boundary is Boundary.SDK:  # answers of a few bytes are not worth packing
            headers = [pair for pair in headers if pair[0] != b"accept-encoding"]
        if protocol is Protocol.GRPC_WEB_TEXT:
            bounded = grpc_web_text.decoded(bounded)
            answer = grpc_web_text.encoded(outgoing)
            headers = [pair for pair in headers if pair[0] != b"content-type"]
            headers.append((b"content-type", grpc_web_text.BINARY_TYPE))
        inner: Scope = {
            **scope,
            "path": f"/{service.name}/{method}",
            "root_path": "",
            "headers": headers,
        }
        try:
            await service.application(inner, bounded, answer)
        except Exception as error:
            if outgoing.started:
                raise
            await outgoing.answer(
                refusal(wire_error(error), content_type=current_call.get().headers["content-type"])
            )


class _Outgoing:
    """The way back: adds the headers every answer has and remembers the status."""

    def __init__(self, send: Send, headers: Headers, call: Call) -> None:
        self._send = send
        self._headers = headers
        self._call = call
        self.status = 0
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.started = True
            code = _STATUS_CODES.get(self.status)
            later: Headers = []
            if code is not None and not any(n == b"retry-after" for n, _ in message["headers"]):
                later = retry_after(code, self._call.retry_seconds)
            message["headers"] = [
                *message["headers"],
                *self._headers,
                *SAFETY_HEADERS,
                *later,
            ]
        await self._send(message)

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer."""
        await send_whole(self, answer)


def _ask(admit: Callable[[Principal], None], caller: Principal) -> None:
    try:
        admit(caller)
    except ApplianceError as error:
        raise Refused(wire_error(error)) from error


def _has_trailers(scope: HTTPScope) -> bool:
    extensions = cast("Mapping[str, object]", scope).get("extensions")
    return isinstance(extensions, Mapping) and _TRAILERS in extensions


def _refused(
    code: Code, message: str, *, status: int | None = None, headers: Headers | None = None
) -> Refused:
    return Refused(wire_error(ConnectError(code, message)), status=status, headers=headers)
