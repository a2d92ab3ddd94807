"""An official ClickHouse tarball is taken by its checksum only."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from bundle.official import official_clickhouse


def tarball(folder: Path, *names: str) -> Path:
    path = folder / "clickhouse.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(f"clickhouse-common-static-26.9/{name}")
            member.size = 4
            archive.addfile(member, io.BytesIO(b"\x7fELF"))
    return path


def test_the_program_and_its_licence_are_taken(tmp_path: Path) -> None:
    path = tarball(tmp_path, "usr/bin/clickhouse", "usr/share/doc/LICENSE", "install/doinst.sh")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    entries = official_clickhouse(path, checksum, tmp_path)
    assert [(entry.path, entry.mode) for entry in entries] == [
        ("engines/clickhouse/LICENSE", 0o644),
        ("engines/clickhouse/clickhouse", 0o755),
    ]


def test_another_checksum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has the SHA-256"):
        official_clickhouse(tarball(tmp_path, "usr/bin/clickhouse"), "0" * 64, tmp_path)


def test_a_tarball_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tarball(tmp_path, "usr/bin/other")
    with pytest.raises(ValueError, match="holds no"):
        official_clickhouse(path, hashlib.sha256(path.read_bytes()).hexdigest(), tmp_path)
