"""Leaving debug sections out of libraries: half of some wheels is symbols nobody reads.

Invariant: every byte that is loaded stays where it was; only what no segment covers is dropped, and
the section table is written again for the sections that stay. Done here, not with binutils, so that
the result depends on nothing that is not locked.
"""

import struct
from typing import Final

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_MAGIC_64_LITTLE: Final = b"\x7fELF\x02\x01"
_ALLOCATED: Final = 0x2
_INFO_IS_LINK: Final = 0x40
_SYMBOLS: Final = 2
_ALIGNMENT: Final = 8

Section = tuple[int, int, int, int, int, int, int, int, int, int]


def without_debug(content: bytes) -> bytes:
    """The same ELF file without what is never loaded; unchanged when there is nothing to drop."""
    if content[: len(_MAGIC_64_LITTLE)] != _MAGIC_64_LITTLE:
        return content
    head = list(_HEADER.unpack_from(content))
    segments_at, sections_at = head[5], head[6]
    segment_size, segments, section_size, sections, names_index = head[9:14]
    table: list[Section] = [
        _SECTION.unpack_from(content, sections_at + index * section_size)
        for index in range(sections)
    ]
    if not any(
        section[1] == _SYMBOLS or _is_debug(content, table, section, names_index)
        for section in table
    ):
        return content
    end = max(
        offset + size
        for _, _, offset, _, _, size, _, _ in (
            _SEGMENT.unpack_from(content, segments_at + index * segment_size)
            for index in range(segments)
        )
    )
    end = max(end, segments_at + segments * segment_size, _HEADER.size)
    kept = [
        index
        for index, section in enumerate(table)
        if index in {0, names_index} or section[2] & _ALLOCATED
    ]
    place = {before: after for after, before in enumerate(kept)}
    names = table[names_index]
    tail = content[names[4] : names[4] + names[5]]
    tail += bytes(-(end + len(tail)) % _ALIGNMENT)
    head[6] = end + len(tail)
    head[12], head[13] = len(kept), place[names_index]
    for index in kept:
        moved = end if index == names_index else table[index][4]
        tail += _SECTION.pack(*_placed(table[index], place, moved))
    return _HEADER.pack(*head) + content[_HEADER.size : end] + tail


def _placed(section: Section, place: dict[int, int], offset: int) -> Section:
    name, kind, flags, address, _, size, link, about, alignment, entry_size = section
    if flags & _INFO_IS_LINK:
        about = place.get(about, 0)
    link = place.get(link, 0)
    return (name, kind, flags, address, offset, size, link, about, alignment, entry_size)


def _is_debug(content: bytes, table: list[Section], section: Section, names_index: int) -> bool:
    start = table[names_index][4] + section[0]
    return content[start : start + 7] == b".debug_"
