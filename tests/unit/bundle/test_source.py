"""The staged sources: a version set, files laid over, the clone untouched."""

from pathlib import Path

import pytest

from appliance.version import RELEASE
from bundle.declare import newest_migrations
from bundle.places import REPOSITORY
from bundle.source import own_data, own_modules, stage_source


def test_the_clone_as_it_is(tmp_path: Path) -> None:
    source = stage_source(tmp_path / "s", overlay=None, version=None, release=None)
    assert source.version == RELEASE
    assert "appliance.cli.main" in own_modules(source.folder)
    assert "appliance.__main__" not in own_modules(source.folder)
    data = [path for path, _ in own_data(source.folder)]
    assert any(path.endswith(".sql") for path in data)
    assert not any(path.endswith(".proto") for path in data)


def test_a_second_release_with_a_migration_more(tmp_path: Path) -> None:
    before = newest_migrations(REPOSITORY)
    folder = tmp_path / "over/appliance/storage/postgres/migrations"
    folder.mkdir(parents=True)
    (folder / f"{before['postgres'] + 1:04d}_add_notes.sql").write_text("SELECT 1;\n")
    source = stage_source(tmp_path / "s", overlay=tmp_path / "over", version="0.2.0", release=2)
    assert (source.version, source.release) == ("0.2.0", 2)
    assert newest_migrations(source.folder)["postgres"] == before["postgres"] + 1
    assert newest_migrations(REPOSITORY) == before


def test_a_version_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no version"):
        stage_source(tmp_path / "s", overlay=None, version="../2", release=None)
