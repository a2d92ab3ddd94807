"""A piece of the tarball, deflated as small as it gets, in a form that others can follow.

Invariant: what comes out inflates to the piece, ends at a byte border and has no last block, so
that pieces joined one after the other are one deflate stream. libdeflate makes whole streams only:
the bit that calls its last block the last one is cleared here, an empty block fills the last byte.
"""

import ctypes
import zlib
from importlib import metadata
from typing import Final

import deflate

LEVEL: Final = 10
"""12 takes twice as long for 0.2 % less."""
FAST_LEVEL: Final = 6
_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_BYTE_BITS: Final = 8
_BLOCK_HEAD_BITS: Final = 3
_EMPTY_BLOCK: Final = b"\x00\x00\xff\xff"
_LIBRARY: Final = "libz.so.1"
_Z_BLOCK: Final = 5
_Z_OK: Final = 0
_Z_STREAM_END: Final = 1
_AT_BORDER: Final = 128


def label(*, fast: bool) -> str:
    """What decides the bytes beside the piece itself, for the name of a remembered piece."""
    if fast:
        return f"{zlib.ZLIB_RUNTIME_VERSION}-{FAST_LEVEL}"
    return f"libdeflate-{metadata.version('deflate')}-{LEVEL}"


def squeezed(piece: bytes, *, fast: bool) -> bytes:
    """The piece as deflate blocks of which none is the last."""
    if fast or not piece:
        squeeze = zlib.compressobj(FAST_LEVEL, zlib.DEFLATED, _RAW_DEFLATE, zlib.DEF_MEM_LEVEL)
        return squeeze.compress(piece) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    result = to_be_continued(bytes(deflate.deflate_compress(piece, LEVEL)), len(piece))
    again = zlib.decompressobj(_RAW_DEFLATE)
    assert again.decompress(result) == piece
    assert not again.eof
    return result


def to_be_continued(stream: bytes, size: int) -> bytes:
    """A whole deflate stream with `size` bytes of content, but without its end.

    Raises ValueError for bytes that are no such stream.
    """
    walk = _Walk(stream, size)
    start, end = 0, walk.next_border()
    while not _bit(stream, start):
        start, end = end, walk.next_border()
    changed = bytearray(stream[: -(-end // _BYTE_BITS)])
    changed[start // _BYTE_BITS] &= ~(1 << start % _BYTE_BITS)
    unused = -end % _BYTE_BITS
    if unused:
        # The head of the empty block is noughts, which are there already if they fit.
        changed += (b"" if unused >= _BLOCK_HEAD_BITS else b"\x00") + _EMPTY_BLOCK
    return bytes(changed)


def _bit(stream: bytes, place: int) -> int:
    return stream[place // _BYTE_BITS] >> place % _BYTE_BITS & 1


class _State(ctypes.Structure):
    """`z_stream` of zlib.h."""

    _fields_ = (
        ("next_in", ctypes.c_void_p),
        ("avail_in", ctypes.c_uint),
        ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint),
        ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p),
        ("state", ctypes.c_void_p),
        ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("data_type", ctypes.c_int),
        ("adler", ctypes.c_ulong),
        ("reserved", ctypes.c_ulong),
    )


class _Walk:
    """Inflates a stream from one border of blocks to the next, which Python's zlib cannot."""

    def __init__(self, stream: bytes, size: int) -> None:
        self._library = ctypes.CDLL(_LIBRARY)
        self._input = ctypes.create_string_buffer(stream, len(stream))
        # One byte more, because a full output would end the walk before the last border.
        self._output = ctypes.create_string_buffer(size + 1)
        self._state = _State(
            next_in=ctypes.addressof(self._input),
            avail_in=len(stream),
            next_out=ctypes.addressof(self._output),
            avail_out=size + 1,
        )
        version = ctypes.c_char_p(zlib.ZLIB_RUNTIME_VERSION.encode())
        begun = self._library.inflateInit2_(
            ctypes.byref(self._state), _RAW_DEFLATE, version, ctypes.sizeof(_State)
        )
        if begun != _Z_OK:
            raise ValueError(f"zlib cannot begin: {begun}")

    def next_border(self) -> int:
        """The bit where the next block begins, or the stream ends."""
        said = self._library.inflate(ctypes.byref(self._state), _Z_BLOCK)
        if said not in {_Z_OK, _Z_STREAM_END} or not self._state.data_type & _AT_BORDER:
            raise ValueError(f"not a whole deflate stream: {said}")
        return self._state.total_in * _BYTE_BITS - self._state.data_type % _BYTE_BITS

    def __del__(self) -> None:
        self._library.inflateEnd(ctypes.byref(self._state))
