"""How much of a body is read, packed or unpacked.

Invariant: nobody makes us hold more than the limit, whether the body says its length, comes in
chunks or is compressed; and a body over the limit is refused as `invalid_argument`, the one code
that makes SDKs give the batch up instead of sending it for ever [sdk-protocol 4, 15]. Of all
requests together no more is held than their budget; whoever comes too many is told to come again.
Small bodies are not counted, so large ones, finished or not, never keep the usual batch away.
"""

import asyncio
import zlib
from contextlib import suppress
from typing import Final

import zstandard
from connectrpc.compression import Compression
from connectrpc.errors import ConnectError
from litestar.types import HTTPReceiveMessage, Receive

from appliance.api.call import current_call
from appliance.api.errors import refused_body, undecodable, wire_error
from appliance.base.errors import TimedOutError, UnavailableError

BODY_SECONDS_MAX: Final = 30.0
"""How long a body may take to arrive: the patience of the most patient SDK [sdk-protocol 2]."""

DISCARD_SECONDS_MAX: Final = 5.0
"""How long we wait for a body nobody wants."""

SMALL_BYTES_MAX: Final = 64 << 10
"""So much of each request is not counted; SDKs send less at a time."""
RETRY_SECONDS: Final = 1.0

_GZIP_WINDOW: Final = 31
_GZIP_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 3


class BodyBudget:
    """How many bytes of bodies one process holds at once, beside the small ones."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def take(self, number: int) -> None:
        """Count bytes that are held from now on; raises ConnectError when they are too many."""
        if self._held + number > self._bytes_max:
            raise wire_error(
                UnavailableError(
                    "OVERLOADED",
                    "too many large requests are in work; send the same again in a moment",
                    retry_seconds=RETRY_SECONDS,
                )
            )
        self._held += number

    def give(self, number: int) -> None:
        """Bytes that are not held any more."""
        self._held -= number


class BodyLease:
    """What one request holds of the budget; release it when the request has ended."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._seen = 0
        self._held = 0

    def take(self, number: int) -> None:
        """Count more bytes of this request; raises ConnectError when the budget is used up."""
        self._seen += number
        more = self._seen - SMALL_BYTES_MAX - self._held
        if more > 0:
            self._budget.take(more)
            self._held += more

    def release(self) -> None:
        """Hold nothing any more."""
        self._budget.give(self._held)
        self._held = 0


def _hold(number: int) -> None:
    lease = current_call.get().lease
    if lease is not None:
        lease.take(number)


def limited(receive: Receive, bytes_max: int, *, seconds_max: float = BODY_SECONDS_MAX) -> Receive:
    """`receive` that raises once more than `bytes_max` bytes of body have come, or when the body
    is not whole `seconds_max` after the first look at it.
    """
    total = 0
    complete = False
    deadline: float | None = None

    async def receive_limited() -> HTTPReceiveMessage:
        nonlocal total, complete, deadline
        if complete:
            return await receive()  # pyright: ignore[reportReturnType] # a disconnect
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + seconds_max
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise wire_error(_too_slow(seconds_max)) from error
        if message["type"] == "http.request":
            total += len(message["body"])
            complete = not message["more_body"]
            if total > bytes_max:
                raise too_large(bytes_max)
            _hold(len(message["body"]))
        return message  # pyright: ignore[reportReturnType] # only http messages reach services

    return receive_limited


async def whole_body(receive: Receive) -> bytes | None:
    """The rest of a body, out of a `limited` receive; None when its sender left before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def discard(receive: Receive, bytes_max: int) -> None:
    """Let a body come in and keep nothing of it, up to the limit and for a bounded time.

    A client that still sends when it is answered finds its connection broken instead of the
    answer, and sends again what was refused for good.
    """
    total = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS_MAX):
            while total <= bytes_max:
                message = await receive()
                if message["type"] != "http.request":
                    return
                total += len(message["body"])
                if not message["more_body"]:
                    return


def too_large(bytes_max: int) -> ConnectError:
    """The refusal of a body over the limit."""
    return refused_body(f"the body is larger than {bytes_max} bytes; send smaller batches")


def _too_slow(seconds_max: float) -> TimedOutError:
    return TimedOutError(
        "DEADLINE_EXCEEDED", f"the body did not arrive within {seconds_max:g} seconds"
    )


class BoundedGzip(Compression):
    """gzip that stops at the limit."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max

    def name(self) -> str:
        return "gzip"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
        return packer.compress(data) + packer.flush()

    def decompress(
        self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None
    ) -> bytes:
        limit = read_max_bytes or self._bytes_max
        unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW)
        try:
            plain = unpacker.decompress(bytes(data), limit + 1)
        except zlib.error as error:
            raise undecodable("the body is not gzip") from error
        if len(plain) > limit:
            raise too_large(limit)
        _hold(len(plain))
        if not unpacker.eof or unpacker.unused_data:
            raise undecodable("the gzip body is cut short or has something behind it")
        return plain


class BoundedZstd(Compression):
    """Zstandard that stops at the limit."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max

    def name(self) -> str:
        return "zstd"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(bytes(data))

    def decompress(
        self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None
    ) -> bytes:
        limit = read_max_bytes or self._bytes_max
        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
        try:
            with unpacker.stream_reader(bytes(data)) as reader:
                plain = reader.read(limit + 1)
        except zstandard.ZstdError as error:
            raise undecodable("the body is not zstd") from error
        if len(plain) > limit:
            raise too_large(limit)
        _hold(len(plain))
        return plain


_ZSTD_WINDOW_BYTES_MAX: Final = 8 << 20
