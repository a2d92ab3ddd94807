"""The bundle itself: complete, accounted for, small enough, the same every time, and it runs."""

import hashlib
import json
import stat
import subprocess
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from appliance.cli.main import COMMANDS
from appliance.lifecycle.bundle import Machine
from appliance.lifecycle.progress import SilentProgress
from appliance.lifecycle.signature import TrustedKeys, public_half
from appliance.lifecycle.staging import stage
from tests.integration.bundle.conftest import Built, build, copy_clone, manifest_of
from tests.support.bundles import tree_of
from tests.support.stack import make_event, running_stack

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.timeout(1800),
]

BUNDLE_BYTES_MAX = 230_000_000
DELTA_BYTES_MAX = 20_000_000
MACHINE = Machine(architecture="x86_64", glibc="2.99")


def test_every_file_is_in_the_manifest_and_nothing_else(built: Built, unpacked: Path) -> None:
    declared = {entry.path: entry for entry in built.manifest.files}
    found = {
        path.relative_to(unpacked).as_posix()
        for path in unpacked.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    assert found - {"manifest.json", "manifest.sig"} == set(declared)
    for path, entry in declared.items():
        file = unpacked / path
        if entry.link:
            assert str(file.readlink()) == entry.link
            continue
        assert stat.S_IMODE(file.stat().st_mode) == int(entry.mode, 8), path
        assert hashlib.sha256(file.read_bytes()).hexdigest() == entry.sha256, path


def test_every_file_is_of_a_component_in_the_bill(unpacked: Path) -> None:
    bill = json.loads((unpacked / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    owners = [bill["metadata"]["component"], *bill["components"]]
    named = [file["name"] for owner in owners for file in owner.get("components", ())]
    found = {
        path.relative_to(unpacked).as_posix()
        for path in unpacked.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    assert set(named) == found
    assert len(named) == len(set(named))


def test_every_component_has_a_licence_and_its_text(unpacked: Path) -> None:
    bill = json.loads((unpacked / "sbom.cdx.json").read_text())
    for component in (bill["metadata"]["component"], *bill["components"]):
        assert component["licenses"], component["name"]
        assert any((unpacked / "licenses" / component["name"]).iterdir()), component["name"]


def test_nothing_that_is_not_needed_is_carried(unpacked: Path) -> None:
    names = [path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")]
    unwanted = ("pandas", "pyarrow", "polars", "numpy", "pytest", "tkinter", "pyqwest")
    assert [name for name in names if any(f"/{word}/" in f"/{name}/" for word in unwanted)] == []
    assert [name for name in names if name.endswith((".a", ".h", ".pyc", ".proto"))] == []


def test_it_is_small_enough(built: Built) -> None:
    """[targets T5]"""
    assert built.first.stat().st_size <= BUNDLE_BYTES_MAX


def test_two_builds_in_other_folders_umasks_and_dates_are_the_same(
    built: Built, tmp_path: Path
) -> None:
    elsewhere = copy_clone(tmp_path / "a" / "quite" / "different" / "place", at=1_000_000_000)
    again = build(elsewhere, tmp_path / "out", "--key", str(built.key), umask=0o077, seed="4711")
    first = {entry.path: entry.sha256 for entry in manifest_of(built.first).files}
    second = {entry.path: entry.sha256 for entry in manifest_of(again).files}
    assert {path for path in first | second if first.get(path) != second.get(path)} == set()
    assert again.read_bytes() == built.first.read_bytes()


async def test_a_delta_is_small_and_gives_the_release_bit_by_bit(
    built: Built, unpacked: Path, clone: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    """[targets T5] A change of code and one migration more."""
    overlay = tmp_path / "overlay"
    migration = overlay / "appliance/storage/postgres/migrations/0099_add_notes.sql"
    migration.parent.mkdir(parents=True)
    newest = max(
        int(p.name[:4]) for p in (clone / migration.parent.relative_to(overlay)).glob("0*")
    )
    migration = migration.with_name(f"{newest + 1:04d}_add_notes.sql")
    migration.write_text("-- A table of a test.\nCREATE TABLE notes (id text PRIMARY KEY);\n")
    options = ["--key", str(built.key), "--version", "0.2.0", "--release", "2"]
    options += ["--overlay", str(overlay)]
    whole = build(clone, tmp_path, *options)
    delta = build(clone, tmp_path, *options, "--from", str(built.first))
    assert delta.stat().st_size <= DELTA_BYTES_MAX
    assert manifest_of(whole).schema["postgres"] == newest + 1
    trusted = TrustedKeys(keys=(public_half(signing_key),))
    trees = []
    for bundle in (whole, delta):
        staged = await stage(
            bundle,
            staging=tmp_path / f"staging-{bundle.name}",
            trusted=trusted,
            machine=MACHINE,
            installed=unpacked,
            progress=SilentProgress(),
        )
        trees.append(tree_of(staged.folder))
    assert trees[0] == trees[1]


@pytest.mark.parametrize("command", [*COMMANDS, "version"])
def test_the_frozen_binary_knows_every_command(unpacked: Path, command: str) -> None:
    words = [command] if command == "version" else [command, "--help"]
    done = subprocess.run(
        [str(unpacked / "pug-appliance"), *words],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unpacked_folder_serves_events(unpacked: Path, tmp_path: Path) -> None:
    program = (str(unpacked / "pug-appliance"),)
    before = tree_of(unpacked / "engines").keys()
    with running_stack(tmp_path / "pug", program=program) as stack:
        assert stack.post([make_event("signup")]).status_code == 200
        stack.trend_reaches("signup", 1)
    assert not list(unpacked.rglob("*.pyc"))
    assert tree_of(unpacked / "engines").keys() == before
