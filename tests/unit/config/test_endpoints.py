"""Where the stores answer."""

from pathlib import Path

import msgspec
import pytest

from appliance.base.errors import MisconfiguredError
from appliance.base.files import ensure_folder
from appliance.config.endpoints import (
    Ports,
    default_ports,
    load_ports,
    resolve_endpoints,
    save_ports,
)
from appliance.config.model import ClickHouseSettings, Folders, PostgresSettings, Settings
from appliance.config.secrets import Secret, ensure_secrets


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an installation that has secrets."""
    folders = Folders(root=tmp_path)
    ensure_secrets(folders.secrets)
    ensure_folder(folders.run)
    return Settings(data_dir=tmp_path)


def test_our_own_engines_answer_where_the_supervisor_put_them(settings: Settings) -> None:
    """Recorded ports win over configured ones; all of it is loopback with a password."""
    assert load_ports(settings) == default_ports(settings)
    ports = Ports(api=1, postgres=2, nats=3, nats_monitor=4, clickhouse=5)
    save_ports(settings, ports)
    assert load_ports(settings) == ports
    endpoints = resolve_endpoints(settings)
    assert endpoints.postgres.url.reveal().endswith("@127.0.0.1:2/pug")
    assert endpoints.nats.url.reveal() == "nats://127.0.0.1:3"
    assert endpoints.nats.password is not None
    assert (endpoints.clickhouse.host, endpoints.clickhouse.port) == ("127.0.0.1", 5)
    assert endpoints.clickhouse.password is not None


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "secure", "database"),
    [
        ("clickhouse://u:p@h:9000/db", "h", 8123, "u", False, "db"),
        ("clickhouses://h:9440", "h", 8443, "default", True, "pug"),
        ("https://u@h/db", "h", 8443, "u", True, "db"),
        ("http://h:81", "h", 81, "default", False, "pug"),
    ],
)
def test_an_external_clickhouse_is_reached_over_http(
    settings: Settings, url: str, host: str, port: int, user: str, secure: bool, database: str
) -> None:
    """[configuration 2] the original's native address leads to the HTTP port beside it."""
    chosen = msgspec.structs.replace(settings, clickhouse=ClickHouseSettings(url=Secret(url)))
    found = resolve_endpoints(chosen).clickhouse
    assert (found.host, found.port, found.user) == (host, port, user)
    assert (found.secure, found.database, found.external) == (secure, database, True)


def test_pool_options_of_the_original_url_are_understood(settings: Settings) -> None:
    """[configuration 2] pool options leave the URL, the pool size is used."""
    url = Secret("postgres://u:p@h/d?pool_max_conns=3&pool_min_conns=1&sslmode=require")
    chosen = msgspec.structs.replace(settings, postgres=PostgresSettings(url=url))
    found = resolve_endpoints(chosen).postgres
    assert found.url.reveal() == "postgres://u:p@h/d?sslmode=require"
    assert (found.pool_size_max, found.external) == (3, True)


@pytest.mark.parametrize("url", ["mysql://h", "h:9000", "clickhouse:///db"])
def test_an_unusable_url_is_refused_with_an_example(settings: Settings, url: str) -> None:
    """The hint shows how to write it."""
    chosen = msgspec.structs.replace(settings, clickhouse=ClickHouseSettings(url=Secret(url)))
    with pytest.raises(MisconfiguredError, match="write it like https://"):
        resolve_endpoints(chosen)
