"""Deltas: what is carried, and that the appliance turns them into the release again."""

import hashlib
from pathlib import Path

import pytest

from appliance.lifecycle.manifest import Manifest, encode_manifest
from appliance.lifecycle.progress import SilentProgress
from appliance.lifecycle.signature import sign
from appliance.lifecycle.staging import stage
from bundle.archive import write_tarball
from bundle.delta import delta_entries, read_base
from bundle.places import Entry
from tests.support.bundles import (
    CHANGED,
    FILES,
    KEY,
    LINKS,
    MACHINE,
    TRUSTED,
    manifest_of,
    tar_of,
    tree_of,
    write_bundle,
)

pytestmark = pytest.mark.anyio


def entries_for(manifest: Manifest) -> list[Entry]:
    return [
        Entry(path=entry.path, component="own", mode=0o777, link=entry.link)
        if entry.link
        else Entry(
            path=entry.path,
            component="own",
            mode=int(entry.mode, 8),
            content=CHANGED[entry.path],
        )
        for entry in manifest.files
    ]


def sealed_for(manifest: Manifest) -> list[Entry]:
    content = encode_manifest(manifest)
    return [
        Entry(path="manifest.json", component="own", content=content),
        Entry(path="manifest.sig", component="own", content=sign(KEY, content)),
    ]


async def test_a_delta_carries_only_what_changed_and_applies(tmp_path: Path) -> None:
    before = manifest_of(FILES)
    base_bundle = write_bundle(tmp_path, tar_of(before, FILES))
    after = manifest_of(CHANGED, version="0.2.0", release=2, links=LINKS)
    files = entries_for(after)
    base = read_base(base_bundle, after.files)
    assert base.digest == hashlib.sha256(encode_manifest(before)).hexdigest()
    described, carried = delta_entries(base, files)
    assert [entry.path for entry in carried] == ["files/docs/new.md", "patches/pug-appliance"]
    delta = tmp_path / "delta.tar.gz"
    write_tarball(
        delta,
        "pug-appliance-0.2.0-from-0.1.0-linux-x86_64",
        sealed=[*sealed_for(after), described],
        files=carried,
        cache=tmp_path / "cache",
    )
    whole = tmp_path / "whole.tar.gz"
    write_tarball(
        whole,
        "pug-appliance-0.2.0-linux-x86_64",
        sealed=sealed_for(after),
        files=files,
        cache=tmp_path / "cache",
    )
    installed = await staged(base_bundle, tmp_path / "base", None)
    trees = [
        tree_of(await staged(path, tmp_path / path.stem, installed)) for path in (whole, delta)
    ]
    assert trees[0] == trees[1]


async def staged(bundle: Path, folder: Path, installed: Path | None) -> Path:
    release = await stage(
        bundle,
        staging=folder,
        trusted=TRUSTED,
        machine=MACHINE,
        installed=installed,
        progress=SilentProgress(),
    )
    return release.folder


@pytest.mark.parametrize("content", [b"", b"no bundle"])
def test_a_base_that_is_no_bundle_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.tar.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.tar\.gz"):
        read_base(path, ())
