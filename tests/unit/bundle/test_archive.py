"""The tarball: any tar reads it, and the same entries give the same bytes."""

import os
import tarfile
from pathlib import Path

import pytest

from appliance.lifecycle.archive import MEMBER_TIME, ArchiveReader, file_header, open_archive
from bundle.archive import write_tarball
from bundle.places import Entry

SEALED = [Entry(path="manifest.json", component="own", content=b"{}\n")]
LARGE = bytes(range(256)) * (5 << 12)


def entries(folder: Path) -> list[Entry]:
    source = folder / "source.bin"
    source.write_bytes(LARGE)
    return [
        Entry(path="a/large", component="own", source=source),
        Entry(path="a/link", component="own", mode=0o777, link="large"),
        Entry(path="program", component="own", mode=0o755, content=b"\x7fELF"),
    ]


def made(folder: Path, cache: str, *, fast: bool = False) -> Path:
    target = folder / f"{cache}.tar.gz"
    kept = folder / "caches" / cache
    write_tarball(target, "top", sealed=SEALED, files=entries(folder), cache=kept, fast=fast)
    return target


@pytest.mark.parametrize("fast", [False, True])
def test_every_tar_reads_it(tmp_path: Path, fast: bool) -> None:
    with tarfile.open(made(tmp_path, "one", fast=fast)) as archive:
        names = archive.getnames()
        assert names == [
            "top",
            "top/manifest.json",
            "top/a",
            "top/a/large",
            "top/a/link",
            "top/program",
        ]
        assert archive.extractfile("top/a/large").read() == LARGE  # type: ignore[union-attr]
        assert archive.getmember("top/a/link").linkname == "large"
        for member in archive:
            assert (member.uid, member.uname, member.mtime) == (0, "root", MEMBER_TIME)
        assert archive.getmember("top/program").mode == 0o755


def test_cache_umask_and_file_dates_do_not_show(tmp_path: Path) -> None:
    first = made(tmp_path, "one").read_bytes()
    os.utime(tmp_path / "source.bin", (1, 1))
    before = os.umask(0o077)
    try:
        second, third = made(tmp_path, "one"), made(tmp_path, "two")
    finally:
        os.umask(before)
    assert first == second.read_bytes() == third.read_bytes()


@pytest.mark.parametrize("fast", [False, True])
def test_the_strict_reader_of_upgrades_reads_it(tmp_path: Path, fast: bool) -> None:
    with open_archive(made(tmp_path, "one", fast=fast)) as file:
        reader = ArchiveReader(file)
        reader.take(512)
        assert reader.small_file("top/manifest.json", limit=100) == b"{}\n"
        reader.take(512)
        reader.expect(file_header("top/a/large", size=len(LARGE), mode=0o644), what="large")
