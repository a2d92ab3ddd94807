"""The systemd units: the same processes as under `run`, and no more rights than they need."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from appliance.config.endpoints import default_ports
from appliance.config.model import SYSTEMD_SOCKET_DIR, ApiSettings, Settings
from appliance.config.secrets import Secret, SecretName
from appliance.engines.place import Place
from appliance.engines.postgres import SUPERUSER_SECRET
from appliance.lifecycle.layout import Layout
from appliance.lifecycle.unit_file import parse_unit
from appliance.lifecycle.unit_limits import SANDBOX
from appliance.lifecycle.units import installed_settings, installed_specs, render_units
from appliance.topology import ENGINES, engine_specs

REPOSITORY = Path(__file__).parents[2]
SHOWN = Settings(api=ApiSettings(host="0.0.0.0"))
EXPOSURE_TENTHS_MAX = {
    "pug-appliance.service": 12,
    "pug-bridge.service": 12,
    "pug-postgres.service": 5,
    "pug-clickhouse.service": 5,
    "pug-nats.service": 5,
    "pug-recover.service": 30,
    "pug-backup.service": 30,
}
UNITS = {name: parse_unit(text) for name, text in render_units(Layout(), SHOWN).items()}
SERVICES = {name: unit["Service"] for name, unit in UNITS.items() if name.endswith(".service")}
ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def test_the_shown_units_are_those_that_are_installed() -> None:
    """`systemd/` is what `systemd render --output systemd --set api.host=0.0.0.0` writes."""
    shown = {
        path.name: path.read_text()
        for path in (REPOSITORY / "systemd").iterdir()
        if path.name != "README.md"
    }
    assert shown == render_units(Layout(), SHOWN)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_the_same_process_in_both_ways(name: str) -> None:
    """Argument by argument; the unit ends, limits and feeds it as the spec says."""
    settings = installed_settings(Layout(), SHOWN)
    spec = installed_specs(settings)[name]
    own = msgspec.structs.replace(SHOWN, data_dir=Layout().data_dir)
    place = Place(settings=own, ports=default_ports(own), account=None)
    (twin,) = engine_specs(place, environment={}, names=(name,))
    assert (spec.argv, spec.environment, spec.directory) == (
        twin.argv,
        twin.environment,
        twin.directory,
    )
    unit = SERVICES[f"pug-{name}.service"]
    assert unit["ExecStart"] == (f"/opt/pug/current/pug-appliance engine {name} exec",)
    assert unit["KillSignal"] == (spec.stop[0].signal.name,)
    assert float(unit["TimeoutStopSec"][0]) == spec.stop_seconds_max
    assert float(unit["TimeoutStartSec"][0]) >= spec.ready_seconds_max
    assert unit["OOMScoreAdjust"] == (str(spec.oom_score_adjust),)
    assert unit.get("LimitNOFILE", (None,)) == (
        None if spec.open_files_max is None else str(spec.open_files_max),
    )
    assert spec.data_directory is not None
    assert spec.data_directory.is_relative_to(unit["ReadWritePaths"][0])
    assert unit["Restart"] == ("always",)
    assert UNITS[f"pug-{name}.service"]["Unit"]["StartLimitIntervalSec"] == ("0",)


def test_a_query_dies_before_ingestion_does() -> None:
    """When memory or processors run out, ClickHouse is the one to suffer."""
    adjust = {name: int(unit.get("OOMScoreAdjust", ("0",))[0]) for name, unit in SERVICES.items()}
    weight = {
        name: int(unit["CPUWeight"][0]) for name, unit in SERVICES.items() if "CPUWeight" in unit
    }
    for name in ("pug-postgres.service", "pug-nats.service", "pug-appliance.service"):
        assert adjust[name] < 0 < adjust["pug-clickhouse.service"]
        assert weight[name] > weight["pug-clickhouse.service"]
    assert "MemoryMax" in SERVICES["pug-clickhouse.service"]


def test_every_service_starts_from_the_sandbox() -> None:
    """What differs is listed here; nobody gets user namespaces, which hardened hosts forbid."""
    root = {"CapabilityBoundingSet", "SystemCallFilter", "ProtectProc", "ProcSubset"}
    widened = {
        "pug-recover.service": root | {"ProtectSystem"},
        "pug-backup.service": root,
    }
    rendered = parse_unit("[Service]\n" + "".join(_lines(SANDBOX)))["Service"]
    for name, unit in SERVICES.items():
        different = {key for key, value in rendered.items() if unit.get(key) != value}
        assert different == widened.get(name, set()), name
        assert "PrivateUsers" not in unit
        assert "User" in unit or name in widened


def test_an_engine_sees_its_own_secrets_only() -> None:
    """Each of them can read what it needs, and no password of its neighbours."""
    wanted = {
        "pug-postgres.service": {SecretName.POSTGRES, SUPERUSER_SECRET},
        "pug-nats.service": {SecretName.NATS},
        "pug-clickhouse.service": {SecretName.CLICKHOUSE},
        "pug-appliance.service": {*SecretName, "tls"},
        "pug-bridge.service": {*SecretName, "tls"},
    }
    for name, names in wanted.items():
        given = {line.partition(":")[0] for line in SERVICES[name]["LoadCredential"]}
        assert given == {*names, "appliance.toml"}, name


def test_only_the_public_unit_reaches_the_network_of_the_host() -> None:
    """Engines have none; what the operator opens is opened for the appliance alone."""
    open_units = {name for name, unit in SERVICES.items() if "PrivateNetwork" not in unit}
    assert open_units == {
        "pug-appliance.service",
        "pug-bridge.service",
        "pug-recover.service",
        "pug-backup.service",
    }
    for name, unit in SERVICES.items():
        assert unit["IPAddressDeny"] == ("any",), name
        assert set(unit.get("IPAddressAllow", ())) <= {"localhost"}, name
    outgoing = msgspec.structs.replace(SHOWN.network, outgoing=("10.1.0.0/16",))
    opened = render_units(Layout(), msgspec.structs.replace(SHOWN, network=outgoing))
    allowed = {
        name
        for name, text in opened.items()
        if "10.1.0.0/16" in parse_unit(text).get("Service", {}).get("IPAddressAllow", ())
    }
    assert allowed == {"pug-appliance.service", "pug-bridge.service", "pug-backup.service"}


def test_engines_see_programs_and_their_own_folder_only() -> None:
    """Nothing of root's and nothing of a neighbour is mounted where they live."""
    for name in ENGINES:
        unit = SERVICES[f"pug-{name}.service"]
        assert unit["RootDirectory"] == (str(Layout().sandbox),)
        assert unit["BindPaths"] == unit["ReadWritePaths"] == (f"/var/lib/pug/{name}",)
        seen = {path.lstrip("-") for path in unit["BindReadOnlyPaths"][0].split()}
        assert not any(path.startswith(("/etc/pug", "/var", "/home", "/root")) for path in seen)
        assert {path for path in seen if path.startswith("/etc/")} == {
            "/etc/ld.so.cache",
            "/etc/passwd",
            "/etc/group",
        }


def test_settings_reach_the_units() -> None:
    """Addresses, an external engine, and memory."""
    settings = msgspec.convert(
        {
            "api": {"host": "::1", "port": 443},
            "clickhouse": {"memory_bytes_max": None, "port": 18123},
        },
        Settings,
    )
    postgres = msgspec.structs.replace(settings.postgres, url=Secret("postgresql://a@b/c"))
    units = render_units(Layout(), msgspec.structs.replace(settings, postgres=postgres))
    assert "pug-postgres.service" not in units
    assert "pug-postgres" not in "".join(units.values())
    assert "ListenStream=[::1]:443\n" in units["pug-appliance.socket"]
    assert "ListenStream=127.0.0.1:18123\n" in units["pug-clickhouse.socket"]


def test_no_socket_is_given_up() -> None:
    """However often its service fails, the port stays."""
    sockets = [unit["Socket"] for name, unit in UNITS.items() if name.endswith(".socket")]
    assert [socket["TriggerLimitIntervalSec"] for socket in sockets] == [("0",)] * 3


def test_both_public_ports_are_held() -> None:
    """gRPC has a port of its own; whoever takes the sockets finds it as the second one."""
    api = ApiSettings(host="0.0.0.0", port=80, grpc_port=81)
    unit = parse_unit(render_units(Layout(), Settings(api=api))["pug-appliance.socket"])
    assert unit["Socket"]["ListenStream"] == ("0.0.0.0:80", "0.0.0.0:81")


def test_the_folder_of_the_socket_is_where_clients_look() -> None:
    """The unit makes what settings and layout name."""
    assert Path("/run", *SERVICES["pug-postgres.service"]["RuntimeDirectory"]) == SYSTEMD_SOCKET_DIR
    assert Layout().postgres_socket == SYSTEMD_SOCKET_DIR


@pytest.fixture
def unit_files(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes units whose programs exist, after a change to their text."""
    layout = Layout(prefix=tmp_path / "pug")
    for program in (layout.binary, layout.bridge / layout.binary.name):
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)

    def write(change: Callable[[str], str] = lambda text: text) -> list[Path]:
        folder = tmp_path / "units"
        folder.mkdir(exist_ok=True)
        for name, text in render_units(layout, SHOWN).items():
            (folder / name).write_text(change(text))
        return sorted(folder.iterdir())

    return write


@needs_analyze
def test_systemd_understands_every_line(unit_files: Callable[..., list[Path]]) -> None:
    """`systemd-analyze verify` has nothing to say; a misspelt setting it would name."""
    assert _complaints(unit_files()) == []
    broken = unit_files(lambda text: text.replace("NoNewPrivileges=", "NoNewPriviliges="))
    assert any("NoNewPriviliges" in line for line in _complaints(broken))


@needs_analyze
@pytest.mark.parametrize(("name", "tenths"), EXPOSURE_TENTHS_MAX.items())
def test_exposure(name: str, tenths: int, unit_files: Callable[..., list[Path]]) -> None:
    """systemd's own measure of what a service could do; without the sandbox it is far above."""
    (path,) = (path for path in unit_files() if path.name == name)
    assert _is_below(path, tenths)
    bare = path.with_name("bare.service")
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    assert not _is_below(bare, tenths)


def test_every_service_has_a_limit_on_its_exposure() -> None:
    """A new unit must be measured, too."""
    assert set(EXPOSURE_TENTHS_MAX) == set(SERVICES)


def _complaints(paths: list[Path]) -> list[str]:
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", *map(str, paths)],
        check=False,
        capture_output=True,
        text=True,
    )
    # Other units of this machine are none of our business.
    return [line for line in done.stderr.splitlines() if "pug" in line]


def _is_below(path: Path, tenths: int) -> bool:
    done = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", f"--threshold={tenths}", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "Overall exposure" in done.stdout, done.stderr
    return done.returncode == 0


def _lines(settings: dict[str, object]) -> list[str]:
    lines: list[str] = []
    for key, value in settings.items():
        values = value if isinstance(value, tuple) else (value,)
        words = ("yes" if one is True else "no" if one is False else str(one) for one in values)
        lines += [f"{key}={word}\n" for word in words]
    return lines
