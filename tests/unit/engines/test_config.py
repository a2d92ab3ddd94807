"""The configuration files of the engines."""

import os
from pathlib import Path

import pytest

from appliance.base.errors import MisconfiguredError
from appliance.base.units import Bytes
from appliance.config.endpoints import Ports
from appliance.config.model import Folders, NatsSettings, PostgresSettings, Settings
from appliance.engines.nats import render_config as render_nats
from appliance.engines.nats import store_bytes
from appliance.engines.place import Place, engine_folder, write_private
from appliance.engines.postgres import ensure_superuser_secret, render_access
from appliance.engines.postgres import render_config as render_postgres
from appliance.engines.postgres_cluster import check_cluster

PORTS = Ports(api=1, postgres=2, nats=3, nats_monitor=4, clickhouse=5)


def place(folder: Path, settings: Settings | None = None) -> Place:
    """An installation in a folder, run as ourselves."""
    return Place(settings=settings or Settings(data_dir=folder), ports=PORTS, account=None)


def test_nats_flushes_every_message_and_hides(tmp_path: Path) -> None:
    """The three promises: durable, private, bounded."""
    chosen = Settings(data_dir=tmp_path, nats=NatsSettings(store_bytes_max=Bytes(1 << 30)))
    text = render_nats(place(tmp_path, chosen), "secret")
    assert "sync_interval: always" in text
    assert 'listen: "127.0.0.1:3"' in text
    assert 'http: "127.0.0.1:4"' in text
    assert 'password: "secret"' in text
    assert f"max_file_store: {1 << 30}" in text


def test_nats_cannot_be_given_a_path_that_ends_its_quotes(tmp_path: Path) -> None:
    """It is refused, not mangled."""
    with pytest.raises(MisconfiguredError, match="cannot use the path"):
        render_nats(place(tmp_path / 'a"b'), "secret")


def test_the_store_is_sized_from_the_disk(tmp_path: Path) -> None:
    """Within its limits, also for a folder that is not there yet."""
    assert 8 << 30 <= store_bytes(tmp_path / "missing" / "nats") <= 256 << 30


def test_postgres_is_durable_and_hides(tmp_path: Path) -> None:
    """Loopback, a socket for us only when its path fits, every commit on disk."""
    text = render_postgres(place(tmp_path), Path("/run/pug"))
    assert "listen_addresses = '127.0.0.1'" in text
    assert "port = 2" in text
    assert "fsync = on" in text
    assert "unix_socket_directories = '/run/pug'" in text
    long = render_postgres(place(tmp_path), Path("/" + "x" * 120))
    assert "unix_socket_directories = ''" in long


def test_nobody_gets_into_postgres_without_a_password() -> None:
    """Two roles, loopback, scram."""
    text = render_access(PostgresSettings())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(line.endswith("scram-sha-256") for line in lines)
    assert "host  pug pug 127.0.0.1/32" in text


def test_the_superusers_password_is_made_once(tmp_path: Path) -> None:
    """In a file that only we can read."""
    first = ensure_superuser_secret(tmp_path)
    assert ensure_superuser_secret(tmp_path) == first
    assert (tmp_path / "postgres-superuser-password").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, None),
        ({"18": "18"}, None),
        ({"17": "17", "18": "18"}, None),
        ({"17": "17"}, "data of PostgreSQL 17"),
        ({"18": "19"}, "data of PostgreSQL 19"),
    ],
)
def test_another_major_version_is_refused(
    tmp_path: Path, found: dict[str, str], said: str | None
) -> None:
    """Before anything touches it."""
    for name, version in found.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "PG_VERSION").write_text(version + "\n")
    if said is None:
        check_cluster(tmp_path, tmp_path / "18")
    else:
        with pytest.raises(MisconfiguredError, match=said):
            check_cluster(tmp_path, tmp_path / "18")


def test_a_folder_that_is_no_cluster_is_refused(tmp_path: Path) -> None:
    """It may be somebody's data."""
    (tmp_path / "18").mkdir()
    with pytest.raises(MisconfiguredError, match="PG_VERSION is missing"):
        check_cluster(tmp_path, tmp_path / "18")


def test_private_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """And replaced as a whole."""
    before = os.umask(0)
    try:
        folder = engine_folder(Folders(root=tmp_path).nats, None)
        write_private(folder / "nats.conf", "old", None)
        write_private(folder / "nats.conf", "new", None)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "nats.conf").stat().st_mode & 0o777 == 0o600
    assert (folder / "nats.conf").read_text() == "new"
    assert [path.name for path in folder.iterdir()] == ["nats.conf"]


def test_a_private_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(MisconfiguredError, match=r"no/x\.conf"):
        write_private(tmp_path / "no" / "x.conf", "text", None)
