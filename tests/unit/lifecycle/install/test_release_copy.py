"""Copying a release: exactly the manifest's bytes, in a folder that appears whole."""

import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from appliance.lifecycle.progress import SilentProgress
from appliance.lifecycle.release_copy import BundleDifferentError, copy_release

pytestmark = pytest.mark.anyio


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    sha256: str = ""
    size: int = 0
    mode: str = "0644"
    link: str = ""


CONTENTS = {
    "pug-appliance": (b"#!program", "0755"),
    "_internal/lib/large.so": (os.urandom(3 << 20), "0644"),
    "docs/install.md": (b"", "0644"),
}
SEALED = {"manifest.json": b"{}\n", "manifest.sig": b"sig"}


class Source:
    """An unpacked bundle in a folder that anybody can write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "unpacked"
        self.beside = folder / "prefix/staging"
        self.target = folder / "prefix/releases/1.0.0"
        self.beside.mkdir(parents=True)
        self.target.parent.mkdir()
        self.entries = [
            Entry(path="_internal/lib/short.so", link="large.so"),
            *(
                Entry(
                    path=path,
                    sha256=hashlib.sha256(content).hexdigest(),
                    size=len(content),
                    mode=mode,
                )
                for path, (content, mode) in CONTENTS.items()
            ),
        ]
        for path, (content, _) in CONTENTS.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o666)
        (self.folder / "_internal/lib/short.so").symlink_to("large.so")
        (self.folder / "a note of the operator").write_text("not copied")

    async def copy(self) -> None:
        await copy_release(
            self.folder,
            self.target,
            self.entries,
            sealed=SEALED,
            beside=self.beside,
            progress=SilentProgress(),
        )

    def found(self) -> dict[str, str]:
        return {
            os.path.relpath(Path(parent, name), self.target): oct(
                Path(parent, name).lstat().st_mode & 0o777
            )
            for parent, _, names in os.walk(self.target)
            for name in names
        }


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


async def test_exactly_the_listed_files_arrive_with_their_modes(source: Source) -> None:
    before = os.umask(0o077)
    try:
        await source.copy()
    finally:
        os.umask(before)
    assert source.found() == {
        "pug-appliance": "0o755",
        "_internal/lib/large.so": "0o644",
        "_internal/lib/short.so": "0o777",
        "docs/install.md": "0o644",
        "manifest.json": "0o644",
        "manifest.sig": "0o644",
    }
    assert (source.target / "_internal/lib").stat().st_mode & 0o777 == 0o755
    assert (source.target / "_internal/lib/short.so").readlink() == Path("large.so")
    assert list(source.beside.iterdir()) == []


@pytest.mark.parametrize("change", ["byte", "shorter", "longer", "missing", "link", "fifo"])
async def test_a_changed_file_is_named_and_nothing_appears(source: Source, change: str) -> None:
    file = source.folder / "_internal/lib/large.so"
    content = file.read_bytes()
    file.unlink()
    match change:
        case "byte":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "shorter":
            file.write_bytes(content[:-1])
        case "longer":
            file.write_bytes(content + b"x")
        case "link":
            file.symlink_to("/etc/hostname")
        case "fifo":
            os.mkfifo(file)
    with pytest.raises(BundleDifferentError, match=r"_internal/lib/large\.so") as caught:
        await source.copy()
    assert caught.value.exit_status == 5
    assert not source.target.exists()


async def test_a_complete_release_is_left_as_it_is(source: Source) -> None:
    await source.copy()
    before = (source.target / "pug-appliance").stat().st_ino
    await source.copy()
    assert (source.target / "pug-appliance").stat().st_ino == before


@pytest.mark.parametrize("damage", ["byte", "mode", "extra", "missing", "manifest"])
async def test_a_damaged_release_is_replaced(source: Source, damage: str) -> None:
    await source.copy()
    program = source.target / "pug-appliance"
    match damage:
        case "byte":
            program.write_bytes(b"#!PROGRAM")
        case "mode":
            program.chmod(0o777)
        case "extra":
            (source.target / "docs/more").write_text("")
        case "missing":
            program.unlink()
        case _:
            (source.target / "manifest.json").write_text("{ }")
    await source.copy()
    assert program.read_bytes() == b"#!program"
    assert len(source.found()) == 6
    assert program.stat().st_mode & 0o777 == 0o755
    assert list(source.beside.iterdir()) == []


async def test_what_a_cut_off_copy_left_is_no_hindrance(source: Source) -> None:
    leftover = source.beside / "1.0.0.copying"
    leftover.mkdir()
    (leftover / "half").write_text("")
    await source.copy()
    assert len(source.found()) == 6
