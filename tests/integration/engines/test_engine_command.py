"""`engine NAME exec|settle|probe`: what the units run, without systemd around it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.config.secrets import ensure_secrets
from appliance.engines.postgres import SUPERUSER_SECRET, ensure_superuser_secret
from tests.support.ports import free_port

pytestmark = pytest.mark.integration

STOP_SECONDS = 60
# What systemd does for a service with a socket: descriptor 3, and the pid it is meant for.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
os.execv(sys.executable, [sys.executable, "-P", "-m", "appliance", *sys.argv[2:]])
"""


class Unit:
    """The folders and credentials of a unit, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.ports = {name: free_port() for name in ("postgres", "nats", "monitor", "clickhouse")}
        self.folder = folder
        self.runtime = folder / "runtime"
        self.data_dir = folder / "data"
        credentials = folder / "credentials-of-unit"
        for path in (self.runtime, self.data_dir):
            path.mkdir()
        ensure_secrets(credentials)
        ensure_superuser_secret(credentials)
        (credentials / "appliance.toml").write_text(
            f"""supervision = "systemd"
data_dir = "{self.data_dir}"
postgres.port = {self.ports["postgres"]}
postgres.socket_dir = "{self.runtime}"
nats.port = {self.ports["nats"]}
nats.monitor_port = {self.ports["monitor"]}
clickhouse.port = {self.ports["clickhouse"]}
"""
        )
        self.credentials = credentials
        self.environment = {
            "PATH": os.environ["PATH"],
            "CREDENTIALS_DIRECTORY": str(credentials),
            "RUNTIME_DIRECTORY": str(self.runtime),
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "appliance", "engine", *words]

    def ask(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the unit to its end."""
        return subprocess.run(
            self.command(*words),
            env=self.environment | environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=110,
        )

    @contextmanager
    def running(self, name: str, number: signal.Signals) -> Generator[subprocess.Popen[bytes]]:
        """The main process; ended as the unit ends it."""
        process = subprocess.Popen(self.command(name, "exec"), env=self.environment)
        try:
            yield process
            process.send_signal(number)
            assert process.wait(STOP_SECONDS) in {0, 1}
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(tmp_path)


def test_the_queue_starts_as_a_unit(unit: Unit) -> None:
    """`exec` becomes the server, `settle` returns when JetStream answers, also where the
    credentials are hidden from it; nothing of them is left."""
    assert unit.ask("nats", "probe").returncode == 7
    hidden = str(unit.folder / "hidden")
    with unit.running("nats", signal.SIGTERM) as server:
        settled = unit.ask("nats", "settle", CREDENTIALS_DIRECTORY=hidden)
        assert settled.returncode == 0, settled.stderr
        program = Path(f"/proc/{server.pid}/exe").readlink()
        assert program.name == "nats-server"
        assert list(unit.runtime.iterdir()) == []
        assert unit.ask("nats", "probe").returncode == 0
    assert {path.name for path in unit.data_dir.iterdir()} == {"nats"}


@pytest.mark.skipif(os.geteuid() == 0, reason="PostgreSQL refuses root")
def test_the_relational_store_starts_as_a_unit(unit: Unit) -> None:
    """Only on its socket; role and database are made, and no secret is."""
    before = sorted(unit.credentials.iterdir())
    with unit.running("postgres", signal.SIGINT):
        settled = unit.ask("postgres", "settle")
        assert settled.returncode == 0, settled.stderr
        (unit.credentials / SUPERUSER_SECRET).rename(unit.folder / "taken")
        assert unit.ask("postgres", "probe").returncode == 0
        (unit.folder / "taken").rename(unit.credentials / SUPERUSER_SECRET)
        with socket.socket() as door:
            assert door.connect_ex(("127.0.0.1", unit.ports["postgres"])) != 0
    assert sorted(unit.credentials.iterdir()) == before
    assert {path.name for path in unit.data_dir.iterdir()} == {"postgres"}


def test_the_event_store_takes_the_socket_and_tells_when_it_answers(unit: Unit) -> None:
    """`READY=1` comes after the store is open; its password is the credential, not a copy."""
    address = str(unit.folder / "notify")
    stale = unit.data_dir / "clickhouse"
    stale.mkdir()
    (stale / "password").write_text("of an earlier life")
    with (
        socket.create_server(("127.0.0.1", unit.ports["clickhouse"])) as held,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        notified.bind(address)
        notified.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-c", HAND_OVER, str(held.fileno()), "engine", "clickhouse", "exec"],
            env=unit.environment | {"NOTIFY_SOCKET": address},
            pass_fds=[held.fileno()],
        )
        try:
            assert notified.recv(100).startswith(b"READY=1")
            assert unit.ask("clickhouse", "probe").returncode == 0
            process.terminate()
            assert process.wait(STOP_SECONDS) == 0
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    assert unit.ask("clickhouse", "probe").returncode == 7


def test_an_external_engine_has_nothing_to_become(unit: Unit) -> None:
    """A unit left over from before says what to do."""
    said = unit.ask("nats", "exec", NATS_URL="nats://192.0.2.1:4222")
    assert said.returncode == 3
    assert "external" in said.stderr
