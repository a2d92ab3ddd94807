"""Bundles: what is sound is staged bit for bit, everything else is refused (T11)."""

import hashlib
import os
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from appliance.lifecycle.archive import END, file_header, folder_header, link_header
from appliance.lifecycle.bundle import Machine
from appliance.lifecycle.inspection import verify_bundle
from appliance.lifecycle.manifest import BundleRefusedError, FileEntry
from appliance.lifecycle.release_tree import Kind, load_manifest, verify_tree
from tests.support.bundles import (
    CHANGED,
    FILES,
    LINKS,
    STRANGER,
    TRUSTED,
    Box,
    delta_tar_of,
    gzip_of,
    manifest_of,
    tar_of,
    top_of,
    tree_of,
    whole,
    write_bundle,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def expected_tree() -> dict[str, bytes]:
    return dict(FILES) | {path: target.encode() for path, target in LINKS.items()}


async def test_a_sound_bundle_is_staged_bit_for_bit(box: Box) -> None:
    before = os.umask(0o077)
    try:
        staged = await box.stage(gzip_of(tar_of(manifest_of())))
    finally:
        os.umask(before)
    found = tree_of(staged.folder)
    assert expected_tree().items() <= {name: entry[1] for name, entry in found.items()}.items()
    assert found["pug-appliance"][0] & 0o7777 == 0o755
    assert found["_internal"][0] & 0o7777 == 0o755
    assert verify_tree(staged.folder, load_manifest(staged.folder, trusted=TRUSTED)) == ()
    assert box.layout.staging.stat().st_mode & 0o7777 == 0o700


async def test_tar_unpacks_what_we_stage(box: Box, tmp_path: Path) -> None:
    """The strict form is an ordinary tarball: an operator's tar gives the same tree."""
    content = gzip_of(tar_of(manifest_of()))
    staged = await box.stage(content)
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        archive.extractall(tmp_path / "by-tar", filter="fully_trusted")
    assert tree_of(tmp_path / "by-tar" / top_of(manifest_of())) == tree_of(staged.folder)


def swapped(tar: bytes, before: bytes, after: bytes) -> bytes:
    assert before in tar
    assert len(before) == len(after)
    return tar.replace(before, after)


def smuggled(extra: bytes) -> bytes:
    tar = tar_of(manifest_of())
    return tar.removesuffix(END) + extra + END


TOP = top_of(manifest_of())
HARD_LINK = tarfile.TarInfo(f"{TOP}/evil")
HARD_LINK.type, HARD_LINK.linkname = tarfile.LNKTYPE, "/etc/shadow"
DEVICE = tarfile.TarInfo(f"{TOP}/evil")
DEVICE.type = tarfile.CHRTYPE


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: gzip_of(tar_of(manifest_of(), key=STRANGER)), "KEY_UNTRUSTED"),
        (lambda: gzip_of(tar_of(manifest_of(architecture="aarch64"))), "ARCHITECTURE_WRONG"),
        (lambda: gzip_of(tar_of(manifest_of(glibc="2.99"))), "GLIBC_TOO_OLD"),
        (lambda: gzip_of(tar_of(manifest_of()))[:-1], "BUNDLE_TRUNCATED"),
        (lambda: gzip_of(tar_of(manifest_of()))[:2000], "BUNDLE_TRUNCATED"),
        (lambda: gzip_of(tar_of(manifest_of())) + b"x", "BUNDLE_SURPLUS"),
        (lambda: gzip_of(tar_of(manifest_of()) + b"x"), "BUNDLE_SURPLUS"),
        (lambda: gzip_of(tar_of(manifest_of())) * 2, "BUNDLE_SURPLUS"),
        (lambda: b"not a bundle", "BUNDLE_UNREADABLE"),
        (lambda: b"", "BUNDLE_UNREADABLE"),
        (lambda: gzip_of(tar_of(manifest_of(), CHANGED | FILES | MIXED)), "FILE_ALTERED"),
        (lambda: gzip_of(smuggled(whole(f"{TOP}/evil", b"x"))), "BUNDLE_ALTERED"),
        (lambda: gzip_of(smuggled(whole("../../evil", b"x"))), "BUNDLE_ALTERED"),
        (lambda: gzip_of(smuggled(link_header(f"{TOP}/e", target="/etc"))), "BUNDLE_ALTERED"),
        (lambda: gzip_of(smuggled(HARD_LINK.tobuf())), "BUNDLE_ALTERED"),
        (lambda: gzip_of(smuggled(DEVICE.tobuf())), "BUNDLE_ALTERED"),
        (lambda: gzip_of(smuggled(folder_header(f"{TOP}/evil"))), "BUNDLE_ALTERED"),
        (
            lambda: gzip_of(swapped(tar_of(manifest_of()), b"queuequeue", b"queuEqueue")),
            "FILE_ALTERED",
        ),
    ],
)
async def test_what_is_not_sound_is_refused(
    box: Box, make: Callable[[], bytes], reason: str
) -> None:
    before = box.outside()
    with pytest.raises(BundleRefusedError) as caught:
        await box.stage(make())
    assert caught.value.reason == reason
    assert caught.value.exit_status == 5
    assert caught.value.hint
    assert box.outside() == before


MIXED = {"pug-appliance": FILES["pug-appliance"].replace(b"program", b"program"[::-1])}


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (Machine(architecture="x86_64", glibc="2.36", release=2, version="0.2.0"), "DOWNGRADE"),
        (Machine(architecture="x86_64", glibc="2.36", release=1, version="0.1.0"), "SAME_RELEASE"),
    ],
)
async def test_only_newer_releases_are_staged(box: Box, machine: Machine, reason: str) -> None:
    with pytest.raises(BundleRefusedError) as caught:
        await box.stage(gzip_of(tar_of(manifest_of())), machine=machine)
    assert caught.value.reason == reason


async def test_a_release_that_is_too_far_away_is_refused(box: Box) -> None:
    far = manifest_of(version="0.9.0", release=9, upgrades_from=5)
    machine = Machine(architecture="x86_64", glibc="2.36", release=1, version="0.1.0")
    with pytest.raises(BundleRefusedError) as caught:
        await box.stage(gzip_of(tar_of(far)), machine=machine)
    assert caught.value.reason == "UPGRADE_TOO_FAR"


async def test_a_file_larger_than_its_entry_stops_the_reading(box: Box) -> None:
    """A decompression bomb is met at its first surplus block."""
    tar = tar_of(manifest_of())
    entry = file_header(f"{TOP}/pug-appliance", size=len(FILES["pug-appliance"]), mode=0o755)
    bomb = tar[: tar.index(entry)] + file_header(f"{TOP}/pug-appliance", size=1 << 32, mode=0o755)
    with pytest.raises(BundleRefusedError, match="pug-appliance is not where"):
        await box.stage(gzip_of(bomb + bytes(1 << 20)))


async def test_unchanged_files_are_shared_with_the_installed_release(box: Box) -> None:
    installed = await box.install()
    second = manifest_of(CHANGED, version="0.2.0", release=2)
    machine = Machine(architecture="x86_64", glibc="2.36", release=1, version="0.1.0")
    staged = await box.stage(gzip_of(tar_of(second, CHANGED)), machine=machine, installed=installed)
    engine = "_internal/lib/libengine.so"
    assert (staged.folder / engine).stat().st_ino == (installed / engine).stat().st_ino
    assert (staged.folder / "pug-appliance").stat().st_nlink == 1
    assert staged.linked_bytes == sum(
        len(content) for path, content in FILES.items() if path != "pug-appliance"
    )


async def test_a_damaged_installed_file_is_not_shared(box: Box) -> None:
    installed = await box.install()
    engine = "_internal/lib/libengine.so"
    (installed / engine).write_bytes(b"damaged")
    second = manifest_of(CHANGED, version="0.2.0", release=2)
    staged = await box.stage(gzip_of(tar_of(second, CHANGED)), installed=installed)
    assert (staged.folder / engine).read_bytes() == FILES[engine]


@pytest.mark.parametrize("patched", [frozenset[str](), frozenset({"pug-appliance"})])
async def test_a_delta_gives_the_tree_of_the_whole_bundle(
    box: Box, patched: frozenset[str]
) -> None:
    second = manifest_of(CHANGED, version="0.2.0", release=2)
    whole_tree = tree_of((await box.stage(gzip_of(tar_of(second, CHANGED)))).folder)
    installed = await box.install()
    delta = gzip_of(
        delta_tar_of(second, CHANGED, base=manifest_of(), base_files=FILES, patched=patched)
    )
    staged = await box.stage(delta, installed=installed)
    assert tree_of(staged.folder) == whole_tree
    assert len(delta) < len(gzip_of(tar_of(second, CHANGED)))


async def test_a_delta_for_another_base_is_refused(box: Box) -> None:
    second = manifest_of(CHANGED, version="0.2.0", release=2)
    other = manifest_of({**FILES, "pug-appliance": b"other"})
    delta = gzip_of(delta_tar_of(second, CHANGED, base=other, base_files=FILES))
    installed = await box.install()
    for base, reason in ((installed, "DELTA_BASE_WRONG"), (None, "DELTA_NEEDS_BASE")):
        with pytest.raises(BundleRefusedError) as caught:
            await box.stage(delta, installed=base)
        assert caught.value.reason == reason


async def test_a_delta_on_a_damaged_base_is_refused(box: Box) -> None:
    second = manifest_of(CHANGED, version="0.2.0", release=2)
    delta = gzip_of(delta_tar_of(second, CHANGED, base=manifest_of(), base_files=FILES))
    installed = await box.install()
    (installed / "_internal/base.zip").write_bytes(b"damaged")
    with pytest.raises(BundleRefusedError) as caught:
        await box.stage(delta, installed=installed)
    assert caught.value.reason == "DELTA_BASE_DAMAGED"


def test_verifying_writes_nothing_and_finds_the_bill(tmp_path: Path) -> None:
    path = write_bundle(tmp_path, tar_of(manifest_of()))
    before = tree_of(tmp_path)
    found = verify_bundle(path, trusted=TRUSTED)
    assert (found.head.manifest.version, found.bill) == ("0.1.0", FILES["sbom.cdx.json"])
    assert found.complete
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize("patched", [frozenset[str](), frozenset({"pug-appliance"})])
async def test_a_delta_is_checked_with_and_without_its_base(
    box: Box, tmp_path: Path, patched: frozenset[str]
) -> None:
    installed = await box.install()
    second = manifest_of(CHANGED, version="0.2.0", release=2)
    tar = delta_tar_of(second, CHANGED, base=manifest_of(), base_files=FILES, patched=patched)
    path = write_bundle(tmp_path, tar)
    before = tree_of(tmp_path)
    assert verify_bundle(path, trusted=TRUSTED, base=installed).complete
    found = verify_bundle(path, trusted=TRUSTED)
    assert not found.complete
    assert found.delta is not None
    assert [one.path for one in found.delta.changes] == ["docs/new.md", "pug-appliance"]
    assert tree_of(tmp_path) == before
    write_bundle(tmp_path, tar.replace(b"news", b"gnus"))
    with pytest.raises(BundleRefusedError):
        verify_bundle(path, trusted=TRUSTED)


async def test_every_difference_of_a_tree_is_named(box: Box) -> None:
    installed = await box.install()
    manifest = load_manifest(installed)
    (installed / "surplus").write_text("x")
    (installed / "pug-appliance").chmod(0o777)
    (installed / "sbom.cdx.json").unlink()
    (installed / "engines/nats/latest").unlink()
    (installed / "engines/nats/latest").symlink_to("/bin/sh")
    path = installed / "_internal/lib/libengine.so"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\1")
    found = {one.path: one.kind for one in verify_tree(installed, manifest)}
    assert found == {
        "surplus": Kind.SURPLUS,
        "pug-appliance": Kind.MODE,
        "sbom.cdx.json": Kind.MISSING,
        "engines/nats/latest": Kind.LINK,
        "_internal/lib/libengine.so": Kind.CONTENT,
    }
    assert hashlib.sha256(content).hexdigest() == next(
        entry.sha256
        for entry in manifest.files
        if isinstance(entry, FileEntry) and entry.size == 76800
    )
