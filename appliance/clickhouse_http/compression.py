"""Compressed bodies, in both directions, a piece at a time.

Invariant: neither direction holds more than one piece; a body that ends in the middle of a frame is
an error, never a short result. Names are those of Content-Encoding and Accept-Encoding.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol, cast

import brotli
import lz4.frame
import zstandard

from appliance.clickhouse_http.errors import Codes, EngineError

PIECE_BYTES: Final = 1 << 20
_ZSTD_WINDOW_BYTES_MAX: Final = 128 << 20


class Encoder(Protocol):
    """Compresses an answer."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Lz4Context(Protocol):
    def begin(self) -> bytes: ...
    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class _BrotliContext(Protocol):
    def process(self, data: bytes) -> bytes: ...
    def finish(self) -> bytes: ...
    def is_finished(self) -> bool: ...


class _Lz4(Protocol):
    """The part of `lz4.frame` that is used; the package has no types."""

    def LZ4FrameCompressor(self, *, block_linked: bool) -> _Lz4Context: ...  # noqa: N802
    def LZ4FrameDecompressor(self) -> "_Decoder": ...  # noqa: N802


class _Brotli(Protocol):
    """The part of `brotli` that is used; the package has no types."""

    error: type[Exception]

    def Compressor(self, *, quality: int) -> _BrotliContext: ...  # noqa: N802
    def Decompressor(self) -> _BrotliContext: ...  # noqa: N802


_LZ4: Final = cast("_Lz4", lz4.frame)
_BROTLI: Final = cast("_Brotli", brotli)


class _Lz4Encoder:
    def __init__(self, _level: int) -> None:
        self._context = _LZ4.LZ4FrameCompressor(block_linked=False)
        self._head = self._context.begin()

    def compress(self, data: bytes, /) -> bytes:
        head, self._head = self._head, b""
        return head + self._context.compress(data)

    def flush(self) -> bytes:
        head, self._head = self._head, b""
        return head + self._context.flush()


class _BrotliEncoder:
    def __init__(self, level: int) -> None:
        self._context = _BROTLI.Compressor(quality=level)

    def compress(self, data: bytes, /) -> bytes:
        return self._context.process(data)

    def flush(self) -> bytes:
        return self._context.finish()


def _gzip(level: int) -> Encoder:
    return zlib.compressobj(level, wbits=31)


def _deflate(level: int) -> Encoder:
    return zlib.compressobj(level)


def _zstd(level: int) -> Encoder:
    return zstandard.ZstdCompressor(level=level).compressobj()


def _xz(level: int) -> Encoder:
    return lzma.LZMACompressor(preset=min(level, 9))


def _bzip2(level: int) -> Encoder:
    return bz2.BZ2Compressor(max(1, min(level, 9)))


_ENCODERS: Final[dict[str, Callable[[int], Encoder]]] = {
    "br": _BrotliEncoder,
    "zstd": _zstd,
    "lz4": _Lz4Encoder,
    "gzip": _gzip,
    "deflate": _deflate,
    "xz": _xz,
    "bz2": _bzip2,
}
_LEVELS: Final = {"br": 1, "zstd": 1, "lz4": 1, "gzip": 3, "deflate": 3, "xz": 1, "bz2": 1}
_PREFERENCE: Final = ("br", "lz4", "gzip", "zstd", "deflate", "xz", "bz2")


def choose_encoding(accepted: str) -> str:
    """The encoding for an answer from an Accept-Encoding header; empty for none.

    A client that lists several gets the first it lists, except that cheap lz4 wins over others.
    """
    offered: list[str] = []
    for part in accepted.split(","):
        name, _, weight = part.strip().lower().partition(";")
        if name in _ENCODERS and weight.replace(" ", "") not in {"q=0", "q=0.0"}:
            offered.append(name)
    if "lz4" in offered:
        return "lz4"
    return next((name for name in _PREFERENCE if name in offered), "")


def make_encoder(name: str, level: int | None = None) -> Encoder:
    """A fresh encoder for one answer."""
    return _ENCODERS[name](_LEVELS[name] if level is None else level)


class _Decoder(Protocol):
    @property
    def unused_data(self) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _decoder(name: str) -> Callable[[], _Decoder] | None:
    factories: dict[str, Callable[[], _Decoder]] = {
        "gzip": lambda: zlib.decompressobj(wbits=47),
        "deflate": lambda: zlib.decompressobj(wbits=47),
        "zstd": lambda: zstandard.ZstdDecompressor(
            max_window_size=_ZSTD_WINDOW_BYTES_MAX
        ).decompressobj(),
        "lz4": _LZ4.LZ4FrameDecompressor,
        "xz": lzma.LZMADecompressor,
        "bz2": bz2.BZ2Decompressor,
    }
    return factories.get(name)


def decode(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The plain bytes of a body in this encoding; raises EngineError when it is not valid."""
    if name in {"", "identity"}:
        yield from pieces
        return
    try:
        if name == "br":
            yield from _decode_brotli(pieces)
            return
        factory = _decoder(name)
        if factory is None:
            raise EngineError(Codes.NOT_IMPLEMENTED, f"Unknown compression method: {name}")
        yield from _decode_frames(factory, pieces)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError) as error:
        raise _broken(name) from error
    except zstandard.ZstdError as error:
        raise _broken(name) from error


def _broken(name: str) -> EngineError:
    return EngineError(Codes.CANNOT_DECOMPRESS, f"Cannot decompress the request body ({name})")


def _decode_frames(factory: Callable[[], _Decoder], pieces: Iterator[bytes]) -> Iterator[bytes]:
    decoder = factory()
    started = False
    for piece in pieces:
        rest = piece
        while rest:
            started = True
            plain = decoder.decompress(rest)
            rest = decoder.unused_data if decoder.eof else b""
            if decoder.eof:
                decoder = factory()
                started = bool(rest)
            if plain:
                yield plain
    if started:
        raise EOFError("the last frame is incomplete")


def _decode_brotli(pieces: Iterator[bytes]) -> Iterator[bytes]:
    decoder = _BROTLI.Decompressor()
    for piece in pieces:
        try:
            plain = decoder.process(piece)
        except _BROTLI.error as error:
            raise _broken("br") from error
        if plain:
            yield plain
    if not decoder.is_finished():
        raise EOFError("the stream is incomplete")
