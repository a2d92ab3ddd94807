"""Sends what a statement produced.

Invariant: the status line leaves only when the first megabyte (or the end) of the result is there,
so an early failure has its own status; a later failure stands in the body behind the tag that the
headers announced, and the connection then ends without a proper end of body.
"""

import os
import select
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.ids import random_token
from appliance.clickhouse_http.compression import Encoder, choose_encoding, make_encoder
from appliance.clickhouse_http.engine import Usage
from appliance.clickhouse_http.errors import Codes, EngineError, Stopped, Tagged
from appliance.clickhouse_http.formats import DEFAULT_FORMAT, content_type
from appliance.clickhouse_http.native_frames import FrameEncoder
from appliance.clickhouse_http.produce import PIPE_BYTES, Production
from appliance.clickhouse_http.request import Request
from appliance.clickhouse_http.wire import Exchange

SPOOL_BYTES_MAX: Final = 8 << 20
"""Results kept for wait_end_of_query stay in memory up to here, then on disk."""
HOLD_SECONDS_MAX: Final = 0.25
"""A slow statement's first bytes are sent after this time, although the megabyte is not full."""
_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")
"""Clients expect the tag to be sixteen small letters."""
_EXPOSED: Final = (
    "X-ClickHouse-Query-Id,X-ClickHouse-Summary,X-ClickHouse-Server-Display-Name,"
    "X-ClickHouse-Format,X-ClickHouse-Timezone,X-ClickHouse-Exception-Code,"
    "X-ClickHouse-Exception-Tag"
)


class Banner(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer says about the server."""

    version: str
    display_name: str
    timezone: str


class Answering:
    """One answer under way."""

    def __init__(
        self, exchange: Exchange, banner: Banner, request: Request | None, *, clock: Clock
    ) -> None:
        self._clock = clock
        self._exchange = exchange
        self._banner = banner
        self._request = request
        self._tag = random_token(8).translate(_LETTERS)
        self._encoder: Encoder | None = None

    def whole(self, body: bytes, *, output: str, usage: Usage) -> None:
        """Send a small result at once; `output` is empty for a statement without a result."""
        self._begin(output, usage)
        self._send(body)
        self._complete()

    def stream(self, production: Production, *, output: str, watch: Callable[[], object]) -> None:
        """Send what a statement writes while it runs; raises EngineError before the first byte."""
        pieces = self._pieces(production, watch)
        assert self._request is not None
        if self._request.wait_end:
            self._spooled(production, pieces, output)
            return
        head = bytearray()
        for piece in pieces:
            head += piece
            if not piece or len(head) >= self._request.buffer_bytes:
                break
        else:
            production.wait()
            if production.error is not None:
                raise production.error
            self.whole(bytes(head), output=output, usage=production.usage)
            return
        self._begin(output, None)
        self._send(bytes(head))
        self._exchange.flush()
        for piece in pieces:
            self._send(piece)
            self._exchange.flush()
        production.wait()
        if production.error is not None:
            self._fail_inside(production.error)
        self._complete()

    def _spooled(self, production: Production, pieces: Iterator[bytes], output: str) -> None:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES_MAX) as spool:
            for piece in pieces:
                spool.write(piece)
            production.wait()
            if production.error is not None:
                raise production.error
            spool.seek(0)
            self._begin(output, production.usage)
            self._copy(spool)
            self._complete()

    def _copy(self, source: IO[bytes]) -> None:
        while piece := source.read(PIPE_BYTES):
            self._send(piece)

    def _pieces(self, production: Production, watch: Callable[[], object]) -> Iterator[bytes]:
        """What the statement writes; an empty piece: the first bytes waited long enough."""
        poll = select.poll()
        poll.register(production.descriptor, select.POLLIN)
        poll.register(self._exchange.fileno(), select.POLLRDHUP)
        send_at: float | None = None
        while True:
            ready = dict(poll.poll(self._milliseconds_until(send_at)))
            if self._exchange.fileno() in ready:
                watch()
                raise Stopped(Codes.NETWORK_ERROR, "the client left")
            if send_at is not None and self._clock.monotonic_seconds() >= send_at:
                send_at = None
                yield b""
            if production.descriptor not in ready:
                continue
            piece = os.read(production.descriptor, PIPE_BYTES)
            if not piece:
                return
            if send_at is None and not self._exchange.headers_sent:
                send_at = self._clock.monotonic_seconds() + HOLD_SECONDS_MAX
            yield piece

    def _milliseconds_until(self, instant: float | None) -> float | None:
        if instant is None:
            return None
        return max(0.0, instant - self._clock.monotonic_seconds()) * 1000

    def fail(self, error: EngineError) -> None:
        """Send an error; after the headers it goes into the body and ends the connection."""
        if self._exchange.headers_sent:
            self._fail_inside(error)
        self._exchange.start(
            error.status,
            [
                *self._common(),
                ("X-ClickHouse-Exception-Code", str(error.code)),
                ("Content-Type", "text/plain; charset=UTF-8"),
                *self._body_headers(),
            ],
        )
        self._send(error.text(self._banner.version).encode())
        self._complete()
        self.finish()

    def _fail_inside(self, error: EngineError) -> None:
        block = Tagged(tag=self._tag, text=error.text(self._banner.version)).encode()
        self._send(block)
        if self._encoder is not None:
            self._exchange.send(self._encoder.flush())
        self._exchange.flush()
        raise Stopped(error.code, "the answer ended in an error")

    def _begin(self, output: str, usage: Usage | None) -> None:
        request = self._request
        assert request is not None
        self._exchange.start(
            200,
            [
                *self._common(),
                ("Content-Type", content_type(output or DEFAULT_FORMAT)),
                *([("X-ClickHouse-Format", output)] if output else []),
                ("X-ClickHouse-Exception-Tag", self._tag),
                ("X-ClickHouse-Summary", _summary(usage or Usage())),
                *self._body_headers(),
            ],
        )

    def _body_headers(self) -> list[tuple[str, str]]:
        request = self._request
        if request is None or request.method == "HEAD":
            return [("Transfer-Encoding", "chunked")]
        encoding = choose_encoding(request.accept_encoding)
        headers = [("Transfer-Encoding", "chunked")]
        if request.native_compress:
            self._encoder = FrameEncoder()
        elif encoding:
            self._encoder = make_encoder(encoding, request.zlib_level)
            headers.append(("Content-Encoding", encoding))
        return headers

    def _common(self) -> list[tuple[str, str]]:
        request = self._request
        settings: Mapping[str, str] = request.settings if request else {}
        headers = [
            ("Connection", "Keep-Alive"),
            ("X-ClickHouse-Server-Display-Name", self._banner.display_name),
            ("X-ClickHouse-Timezone", settings.get("session_timezone") or self._banner.timezone),
            ("Access-Control-Expose-Headers", _EXPOSED),
        ]
        if request is not None:
            headers.append(("X-ClickHouse-Query-Id", _header_safe(request.query_id)))
        return headers

    def _send(self, body: bytes) -> None:
        if self._request is not None and self._request.method == "HEAD":
            return
        self._exchange.send(self._encoder.compress(body) if self._encoder else body)

    def _complete(self) -> None:
        """Send what the encoder holds; only the end of the body is left."""
        if self._encoder is not None and not (self._request and self._request.method == "HEAD"):
            self._exchange.send(self._encoder.flush())

    def finish(self) -> None:
        """Tell the client that the answer is over.

        Called when the statement has given back its session and its id: the client may use them
        again at once.
        """
        self._exchange.end()


def _header_safe(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _summary(usage: Usage) -> str:
    return msgspec.json.encode(
        {
            "read_rows": str(usage.read_rows),
            "read_bytes": str(usage.read_bytes),
            "written_rows": str(usage.written_rows),
            "written_bytes": str(usage.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(usage.result_rows or usage.written_rows),
            "result_bytes": str(usage.written_bytes),
            "elapsed_ns": str(int(usage.elapsed_seconds * 1e9)),
        }
    ).decode()
