"""ClickHouse's own block compression, asked for with `compress=1` and `decompress=1`.

Invariant: a frame is checked against its checksum before a byte of it is believed, and no frame may
claim more than a fixed size. Layout: 16 bytes CityHash 1.0.2, then method, both sizes, the data.
"""

import struct
from collections.abc import Iterator
from typing import Final, Protocol, cast

import lz4.block
import zstandard
from clickhouse_cityhash import (
    cityhash,  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType] compiled
)

from appliance.clickhouse_http.errors import Codes, EngineError

_LZ4: Final = 0x82
_ZSTD: Final = 0x90
_NONE: Final = 0x02
_CHECKSUM_BYTES: Final = 16
_HEADER: Final = struct.Struct("<BII")
_FRAME_BYTES: Final = 1 << 20
_FRAME_BYTES_MAX: Final = 1 << 30


class _Lz4(Protocol):
    """The part of `lz4.block` that is used; the package has no types."""

    LZ4BlockError: type[Exception]

    def compress(self, data: bytes, *, store_size: bool) -> bytes: ...
    def decompress(self, data: bytes, *, uncompressed_size: int) -> bytes: ...


class _CityHash(Protocol):
    """The part of `clickhouse_cityhash` that is used; the package has no types."""

    def CityHash128(self, data: bytes, /) -> int: ...  # noqa: N802


_LZ4_BLOCK: Final = cast("_Lz4", lz4.block)
_CITYHASH: Final = cast("_CityHash", cityhash)


def _checksum(frame: bytes) -> bytes:
    raw = _CITYHASH.CityHash128(frame).to_bytes(_CHECKSUM_BYTES, "little")
    # The package numbers the halves the other way round than the engine writes them.
    return raw[8:] + raw[:8]


class FrameEncoder:
    """Compresses an answer into frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def compress(self, data: bytes, /) -> bytes:
        self._held += data
        if len(self._held) < _FRAME_BYTES:
            return b""
        return self.flush()

    def flush(self) -> bytes:
        plain = bytes(self._held)
        self._held.clear()
        return b"".join(
            self._frame(plain[start : start + _FRAME_BYTES])
            for start in range(0, len(plain), _FRAME_BYTES)
        )

    @staticmethod
    def _frame(plain: bytes) -> bytes:
        packed = _LZ4_BLOCK.compress(plain, store_size=False)
        frame = _HEADER.pack(_LZ4, len(packed) + _HEADER.size, len(plain)) + packed
        return _checksum(frame) + frame


def decode_frames(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The plain bytes of a framed body; raises EngineError when a frame is damaged."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while (size := _complete(held)) > 0:
            yield _open(bytes(held[:size]))
            del held[:size]
    if held:
        raise EngineError(Codes.CANNOT_DECOMPRESS, "The last compressed block is incomplete")


def _complete(held: bytearray) -> int:
    """The size of the first frame with its checksum when it is all there, else 0."""
    if len(held) < _CHECKSUM_BYTES + _HEADER.size:
        return 0
    _, packed_size, plain_size = _HEADER.unpack_from(held, _CHECKSUM_BYTES)
    if not _HEADER.size <= packed_size <= _FRAME_BYTES_MAX or plain_size > _FRAME_BYTES_MAX:
        raise EngineError(Codes.CANNOT_DECOMPRESS, "A compressed block claims an impossible size")
    total = _CHECKSUM_BYTES + packed_size
    return total if len(held) >= total else 0


def _open(whole: bytes) -> bytes:
    frame = whole[_CHECKSUM_BYTES:]
    if _checksum(frame) != whole[:_CHECKSUM_BYTES]:
        raise EngineError(Codes.CANNOT_DECOMPRESS, "Checksum doesn't match: corrupted data")
    method, _, plain_size = _HEADER.unpack_from(frame)
    packed = frame[_HEADER.size :]
    try:
        if method == _LZ4:
            return _LZ4_BLOCK.decompress(packed, uncompressed_size=plain_size)
        if method == _ZSTD:
            return zstandard.ZstdDecompressor().decompress(packed, max_output_size=plain_size)
    except (_LZ4_BLOCK.LZ4BlockError, zstandard.ZstdError) as error:
        raise EngineError(Codes.CANNOT_DECOMPRESS, "Cannot decompress a block") from error
    if method == _NONE:
        return packed
    raise EngineError(Codes.CANNOT_DECOMPRESS, f"Unknown compression method: {method}")
