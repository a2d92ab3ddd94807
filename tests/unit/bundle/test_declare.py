"""What a release declares about its schema."""

from pathlib import Path

from bundle.declare import compatible_schemas, newest_migrations

FOLDERS = (
    "appliance/storage/postgres/migrations",
    "appliance/storage/streams/definitions",
    "appliance/storage/clickhouse/migrations",
)


def release(folder: Path, *postgres: str) -> Path:
    for each in FOLDERS:
        (folder / each).mkdir(parents=True)
        (folder / each / "0001_create_things.sql").touch()
    for name in postgres:
        (folder / FOLDERS[0] / name).touch()
    return folder


def test_additions_exclude_nobody(tmp_path: Path) -> None:
    folder = release(tmp_path, "0002_add_notes.sql")
    assert newest_migrations(folder) == {"postgres": 2, "nats": 1, "clickhouse": 1}
    assert compatible_schemas(folder) == {"postgres": 1, "nats": 1, "clickhouse": 1}


def test_a_contraction_excludes_older_releases(tmp_path: Path) -> None:
    """Its name says the migration that a release must know (decision 0014)."""
    folder = release(tmp_path, "0002_add_b.sql", "0003_contract_0002_drop_a.sql", "0004_add_c.sql")
    assert compatible_schemas(folder) == {"postgres": 2, "nats": 1, "clickhouse": 1}
