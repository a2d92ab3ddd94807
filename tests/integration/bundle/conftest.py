"""Real bundles, built once for all tests here: two releases, a delta, and the first one again."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest
from nacl.signing import SigningKey

from appliance.lifecycle.manifest import Manifest, decode_manifest
from appliance.lifecycle.signature import make_key

REPOSITORY = Path(__file__).resolve().parents[3]
BUILD_SECONDS_MAX = 900
DATE = "1795000000"
_PARTS = ("appliance", "bundle", "docs", "systemd", "offline-wheels")
_FILES = ("LICENSE", "NOTICE", "CHANGELOG.md")


class Built(NamedTuple):
    """The files of one run of the maker."""

    folder: Path
    key: Path
    first: Path

    @property
    def manifest(self) -> Manifest:
        return manifest_of(self.first)


def manifest_of(bundle: Path) -> Manifest:
    with tarfile.open(bundle) as archive:
        for member in archive:
            if member.name.endswith("/manifest.json"):
                file = archive.extractfile(member)
                assert file is not None
                return decode_manifest(file.read())
    raise AssertionError(f"{bundle} has no manifest")


def copy_clone(target: Path, *, at: int) -> Path:
    """The sources of this clone in another folder, with another date on every file."""
    target.mkdir(parents=True)
    for part in _PARTS:
        shutil.copytree(
            REPOSITORY / part,
            target / part,
            ignore=shutil.ignore_patterns("__pycache__", "*.whl", "go-modules"),
        )
    for name in _FILES:
        shutil.copyfile(REPOSITORY / name, target / name)
    for path in target.rglob("*"):
        os.utime(path, (at, at))
    return target


def build(clone: Path, output: Path, *arguments: str, umask: int = 0o022, seed: str = "1") -> Path:
    """Run the maker of a clone in the environment that scripts/bundle has made."""
    done = subprocess.run(
        [
            *(str(REPOSITORY / "build/bundle-env/bin/python"), "-B", "-m", "bundle"),
            *("--output", str(output), *arguments),
        ],
        cwd=clone,
        env={
            "PATH": os.environ["PATH"],
            "SOURCE_DATE_EPOCH": DATE,
            "PYTHONPATH": str(clone),
            "PYTHONHASHSEED": seed,
        },
        check=False,
        capture_output=True,
        text=True,
        umask=umask,
        timeout=BUILD_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    subprocess.run(
        [str(REPOSITORY / "scripts/bundle"), "--help"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=BUILD_SECONDS_MAX,
    )
    return copy_clone(tmp_path_factory.mktemp("clone") / "here", at=1_700_000_000)


@pytest.fixture(scope="session")
def built(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("bundles")
    key = folder / "signing.key"
    make_key(key)
    return Built(folder=folder, key=key, first=build(clone, folder, "--key", str(key)))


@pytest.fixture(scope="session")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first release as `tar xzf` leaves it."""
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["tar", "xzf", str(built.first), "-C", str(folder)], check=True)
    return folder / built.first.name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def signing_key(built: Built) -> SigningKey:
    from appliance.lifecycle.signature import load_key  # noqa: PLC0415

    return load_key(built.key)
