"""What ELF files need: the oldest glibc, the libraries, and a search path that fits the release.

Invariant: the floor is computed from the version needs of every ELF file in the release, never
assumed. A changed search path is written over the old one in place, so no offset moves.
"""

import re
from io import BytesIO
from pathlib import Path
from typing import Final

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

_MAGIC: Final = b"\x7fELF"
_GLIBC: Final = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
_SEARCH_PATH_TAGS: Final = frozenset({"DT_RPATH", "DT_RUNPATH"})

GlibcVersion = tuple[int, int]


def is_elf(path: Path) -> bool:
    """Whether a file is an ELF program or library."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def glibc_needed(path: Path) -> GlibcVersion:
    """The newest glibc symbol version an ELF file asks for; (0, 0) for none."""
    newest = (0, 0)
    with path.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if not isinstance(section, GNUVerNeedSection):
                continue
            for _, versions in section.iter_versions():
                for version in versions:
                    match = _GLIBC.fullmatch(version.name)
                    if match is not None:
                        newest = max(newest, (int(match[1]), int(match[2])))
    return newest


def libraries_needed(path: Path) -> tuple[str, ...]:
    """The shared libraries an ELF file names."""
    with path.open("rb") as file:
        return tuple(
            tag.needed
            for section in ELFFile(file).iter_sections()
            if isinstance(section, DynamicSection)
            for tag in section.iter_tags()
            if tag.entry.d_tag == "DT_NEEDED"
        )


def with_search_path(content: bytes, wanted: str) -> bytes:
    """The same ELF file with another library search path; unchanged when it has none.

    Raises ValueError when the present path is too short to hold the wanted one.
    """
    changed = bytearray(content)
    elf = ELFFile(BytesIO(content))
    for section in elf.iter_sections():
        if not isinstance(section, DynamicSection):
            continue
        texts = elf.get_section(section["sh_link"])
        for tag in section.iter_tags():
            if tag.entry.d_tag not in _SEARCH_PATH_TAGS:
                continue
            start = texts["sh_offset"] + tag.entry.d_val
            end = content.index(b"\0", start)
            if len(wanted) > end - start:
                raise ValueError(f"{wanted} does not fit into {content[start:end].decode()}")
            changed[start:end] = wanted.encode().ljust(end - start, b"\0")
    return bytes(changed)
