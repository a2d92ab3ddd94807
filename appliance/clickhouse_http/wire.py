"""HTTP/1.1 on one blocking socket.

Invariant: bytes move in pieces of bounded size and never faster than the peer takes them; a peer
that stays silent longer than the time limit loses its connection. h11 keeps the protocol right.
"""

import select
import socket
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Final

import h11
import msgspec

from appliance.clickhouse_http.errors import Codes, EngineError, Stopped

RECEIVE_BYTES: Final = 1 << 18
HEAD_BYTES_MAX: Final = 1 << 20
"""The original's http_max_uri_size; queries may stand in the URL."""
IDLE_SECONDS_MAX: Final = 120.0
SILENT_SECONDS_MAX: Final = 300.0
HELD_BYTES_MAX: Final = 64 << 10
"""A small answer leaves in one piece: each piece of its own wakes the client once more."""
_DISCARD_BYTES_MAX: Final = 16 << 20
"""How much of an unread body is read away to keep a connection; more costs more than a new one."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first lines of a request; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]


class Exchange:
    """The requests and answers of one client connection, one after the other."""

    def __init__(self, peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = peer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._poll = select.poll()
        self._poll.register(peer.fileno(), select.POLLRDHUP)
        self._held = bytearray()
        self.headers_sent = False
        self.idle = True

    def next_head(self) -> Head | None:
        """The next request, or None when the peer has finished; raises EngineError when broken."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        self.headers_sent = False
        self.idle = True
        self._socket.settimeout(IDLE_SECONDS_MAX)
        try:
            event = self._event()
        except h11.RemoteProtocolError as error:
            self.idle = False
            raise EngineError(Codes.BAD_ARGUMENTS, f"Bad HTTP request: {error}") from error
        if not isinstance(event, h11.Request):
            return None
        self.idle = False
        self._socket.settimeout(SILENT_SECONDS_MAX)
        return Head(
            method=event.method.decode("ascii"),
            target=event.target.decode("latin-1"),
            headers={
                name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers
            },
        )

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives; raises Stopped when the peer leaves in the middle."""
        if self._http.they_are_waiting_for_100_continue:
            self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
        while True:
            try:
                event = self._event()
            except h11.RemoteProtocolError as error:
                raise Stopped(Codes.NETWORK_ERROR, "the request body is incomplete") from error
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise Stopped(Codes.NETWORK_ERROR, "the client left")

    def discard_body(self) -> bool:
        """Read the rest of the body away; False when the connection cannot go on."""
        if self._http.their_state is h11.DONE:
            return True
        if self._http.their_state is not h11.SEND_BODY or (
            self._http.they_are_waiting_for_100_continue
        ):
            return False
        size = 0
        try:
            for piece in self.pieces():
                size += len(piece)
                if size > _DISCARD_BYTES_MAX:
                    return False
        except EngineError:
            return False
        return True

    def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Send the status line and the headers, at the latest with `flush` or `end`."""
        self.headers_sent = True
        reason = HTTPStatus(status).phrase.encode()
        self._hold(
            self._http.send(h11.Response(status_code=status, headers=list(headers), reason=reason))
        )

    def send(self, body: bytes) -> None:
        """Send a piece of the body, at the latest with `flush` or `end`; waits for the peer."""
        if body:
            self._hold(self._http.send(h11.Data(data=body)))

    def flush(self) -> None:
        """Send what is held."""
        held, self._held = self._held, bytearray()
        self._write(held)

    def end(self) -> None:
        """Finish the answer."""
        self._hold(self._http.send(h11.EndOfMessage()))
        self.flush()

    @property
    def gone(self) -> bool:
        """Whether the peer has closed its side."""
        return bool(self._poll.poll(0))

    def fileno(self) -> int:
        """The descriptor, for waiting on it together with others."""
        return self._socket.fileno()

    def interrupt(self) -> None:
        """Make a thread that waits for the body see its end; answering is still possible."""
        try:
            self._socket.shutdown(socket.SHUT_RD)
        except OSError:
            return

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            try:
                received = self._socket.recv(RECEIVE_BYTES)
            except TimeoutError as error:
                raise Stopped(Codes.SOCKET_TIMEOUT, "the client is silent") from error
            except OSError as error:
                raise Stopped(Codes.NETWORK_ERROR, "the client left") from error
            self._http.receive_data(received)
        return event

    def _hold(self, raw: bytes | None) -> None:
        if not raw:
            return
        if len(self._held) + len(raw) <= HELD_BYTES_MAX:
            self._held += raw
            return
        self.flush()
        self._write(raw)

    def _write(self, raw: bytes | bytearray | None) -> None:
        if not raw:
            return
        try:
            self._socket.sendall(raw)
        except OSError as error:
            raise Stopped(Codes.NETWORK_ERROR, "the client left") from error
