"""Settings of an installed appliance: what systemd hands over, and what follows from it."""

import os
from pathlib import Path

import msgspec
import pytest

from appliance.config.endpoints import Ports, default_ports, load_ports, resolve_endpoints
from appliance.config.load import inspect_settings, load_settings
from appliance.config.model import Settings
from appliance.config.secrets import ensure_secrets, load_secret_file
from appliance.config.sources import CREDENTIALS_COPY

TEXT = 'supervision = "systemd"\nsecrets_dir = "/etc/pug/secrets"\n'


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    """The folder systemd makes for a unit of ours."""
    folder = tmp_path / "credentials-of-unit"
    ensure_secrets(folder)
    (folder / "appliance.toml").write_text(TEXT)
    return folder


def loaded(environment: dict[str, str], *, config_file: Path | None = None) -> Settings:
    return load_settings(config_file=config_file, environment=environment, flags={})


def test_a_unit_reads_its_credentials(credentials: Path) -> None:
    """Settings and secrets come from the folder, whatever root's file says about secrets."""
    settings = loaded({"CREDENTIALS_DIRECTORY": str(credentials)})
    assert settings.installed
    assert settings.folders.secrets == credentials
    assert resolve_endpoints(settings).nats.password is not None


def test_a_file_that_is_named_is_read_instead(credentials: Path, tmp_path: Path) -> None:
    """Children get the effective settings in a file; their secrets are those of the unit."""
    effective = tmp_path / "settings.toml"
    effective.write_text(TEXT + "api.port = 9000\n")
    settings = loaded({"CREDENTIALS_DIRECTORY": str(credentials), "PUG_CONFIG": str(effective)})
    assert settings.api.port == 9000
    assert settings.folders.secrets == credentials


def test_credentials_of_another_program_are_not_ours(tmp_path: Path) -> None:
    """A shell that runs in somebody's unit keeps its secrets in the data directory."""
    (tmp_path / "something").write_text("x")
    settings = loaded({"CREDENTIALS_DIRECTORY": str(tmp_path), "PUG_DATA_DIR": "/data"})
    assert settings.folders.secrets == Path("/data/secrets")
    assert not settings.installed


def test_the_copy_is_read_where_systemd_hides_the_folder(credentials: Path, tmp_path: Path) -> None:
    """systemd before 253 keeps credentials from what runs after the start of a unit."""
    environment = {
        "CREDENTIALS_DIRECTORY": str(tmp_path / "hidden"),
        "RUNTIME_DIRECTORY": str(tmp_path),
    }
    assert not loaded(environment).installed
    credentials.rename(tmp_path / CREDENTIALS_COPY)
    assert loaded(environment).folders.secrets == tmp_path / CREDENTIALS_COPY


def test_ports_are_those_of_the_units(credentials: Path) -> None:
    """No file says otherwise, and PostgreSQL is reached through its socket."""
    settings = loaded({"CREDENTIALS_DIRECTORY": str(credentials)})
    assert load_ports(settings) == default_ports(settings)
    url = resolve_endpoints(settings).postgres.url.reveal()
    assert url.startswith("postgresql://pug:")
    assert url.endswith("@/pug?host=%2Frun%2Fpug-postgres&port=5432")


def test_a_socket_can_be_asked_for_without_systemd(credentials: Path) -> None:
    """postgres.socket_dir alone is enough."""
    settings = Settings(secrets_dir=credentials)
    assert settings.postgres_socket_dir is None
    assert isinstance(load_ports(settings), Ports)
    chosen = msgspec.structs.replace(settings.postgres, socket_dir=Path("/run/mine"))
    settings = msgspec.structs.replace(settings, postgres=chosen)
    assert "host=%2Frun%2Fmine" in resolve_endpoints(settings).postgres.url.reveal()


def test_a_unit_cannot_hold_any_port(credentials: Path) -> None:
    """0 means "let the system choose", which a socket unit cannot tell anybody."""
    (credentials / "appliance.toml").write_text(TEXT + "clickhouse.port = 0\napi.grpc_port = 0\n")
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    found = inspect_settings(config_file=None, environment=environment, flags={})
    assert [problem.key for problem in found.problems] == ["api.grpc_port", "clickhouse.port"]


def test_networks_are_checked() -> None:
    """A name, or an address with bits beyond its mask, would be refused by systemd later."""
    flags = {"network.outgoing": "10.0.0.0/8, fd00::/8, 192.0.2.7"}
    assert load_settings(config_file=None, environment={}, flags=flags).network.outgoing
    flags = {"network.outgoing": "example.org,10.0.0.1/8"}
    found = inspect_settings(config_file=None, environment={}, flags=flags)
    assert [problem.key for problem in found.problems] == ["network.outgoing"] * 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's own files can look like that")
def test_a_credential_behind_an_access_control_list_is_private(tmp_path: Path) -> None:
    """systemd shows its list as a right of root's group; anybody else's group is others."""
    path = tmp_path / "secret"
    path.write_text("word")
    path.chmod(0o440)
    assert load_secret_file(path).reveal() == "word"
    os.chown(path, 0, 1)
    with pytest.raises(Exception, match="can be read by others"):
        load_secret_file(path)
