"""What `client_protocol_version` changes in FORMAT Native.

chDB always writes Native as for clients without a version: no block header and no time zone in the
name of a plain DateTime column. Clients that send a version expect both.

Invariant: only header bytes are touched; a type name is replaced only where the bytes around it
prove that it is one (name before, column data and the next name after), never inside values.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
BLOCK_INFO_VERSION_MIN: Final = 1
TIME_ZONE_VERSION_MIN: Final = 54337
_PLAIN: Final = b"\x08DateTime"
_SECONDS_BYTES: Final = 4


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a result as DESCRIBE tells it."""

    name: bytes
    type: bytes


def needs_zones(block: bytes) -> bool:
    """Whether this block may hold a plain DateTime column."""
    return _PLAIN in block


def restore_zones(block: bytes, columns: Sequence[Column]) -> bytes:
    """The block with the zones of its plain DateTime columns written into their type names."""
    row_count, position = _row_count(block)
    pieces: list[bytes] = []
    done = 0
    for index, column in enumerate(columns):
        if not column.type.startswith(b"DateTime("):
            continue
        header = _text(column.name) + _PLAIN
        following = columns[index + 1].name if index + 1 < len(columns) else None
        at = _find(block, header, position, row_count, following)
        if at < 0:
            return block
        type_at = at + len(header) - len(_PLAIN)
        pieces += (block[done:type_at], _text(column.type))
        done = position = type_at + len(_PLAIN)
    pieces.append(block[done:])
    return b"".join(pieces)


_WIDTHS: Final = {
    **dict.fromkeys((b"UInt8", b"Int8", b"Bool", b"Enum8"), 1),
    **dict.fromkeys((b"UInt16", b"Int16", b"Date", b"Enum16"), 2),
    **dict.fromkeys((b"UInt32", b"Int32", b"Float32", b"DateTime", b"Date32", b"IPv4"), 4),
    **dict.fromkeys((b"UInt64", b"Int64", b"Float64", b"DateTime64"), 8),
    **dict.fromkeys((b"UUID", b"IPv6"), 16),
}


def split_blocks(raw: bytes) -> list[bytes]:
    """The blocks of a Native answer that holds plain columns, as SHOW and DESCRIBE give them.

    An answer with any other column is taken for one block, which it is unless it is very large.
    """
    blocks: list[bytes] = []
    start = 0
    try:
        while start < len(raw):
            end = _skip_block(raw, start)
            blocks.append(raw[start:end])
            start = end
    except (KeyError, IndexError):
        return [raw]
    return blocks


def _skip_block(raw: bytes, position: int) -> int:
    column_count, position = _varint(raw, position)
    row_count, position = _varint(raw, position)
    for _ in range(column_count):
        size, position = _varint(raw, position)
        size, position = _varint(raw, position + size)
        kind = raw[position : position + size]
        position = _skip_column(raw, position + size, kind, row_count)
    return position


def _skip_column(raw: bytes, position: int, kind: bytes, row_count: int) -> int:
    if row_count == 0:
        return position
    if kind.startswith(b"Nullable("):
        return _skip_column(raw, position + row_count, kind[9:-1], row_count)
    if kind.startswith(b"Array("):
        end = position + row_count * 8
        total = int.from_bytes(raw[end - 8 : end], "little")
        return _skip_column(raw, end, kind[6:-1], total)
    if kind == b"String":
        for _ in range(row_count):
            size, position = _varint(raw, position)
            position += size
        return position
    return position + _WIDTHS[kind.partition(b"(")[0]] * row_count


def _find(
    block: bytes, header: bytes, position: int, row_count: int, following: bytes | None
) -> int:
    while (at := block.find(header, position)) >= 0:
        end = at + len(header) + row_count * _SECONDS_BYTES
        if following is None:
            if end == len(block):
                return at
        elif block.startswith(_text(following), end):
            return at
        position = at + 1
    return -1


def _row_count(block: bytes) -> tuple[int, int]:
    _, position = _varint(block, 0)
    return _varint(block, position)


def _varint(block: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = block[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 the continuation bit
            return value, position
        shift += 7


def _text(raw: bytes) -> bytes:
    size = len(raw)
    prefix = bytearray()
    while size >= 0x80:  # noqa: PLR2004 the continuation bit
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + raw
