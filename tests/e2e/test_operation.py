"""Starting, stopping and everything that can be wrong with the place."""

import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.stack import Stack, launch, make_event, processes_of, pug, running_stack, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def gone(data_dir: Path) -> bool | None:
    """True when no process of this data directory is left."""
    return True if not processes_of(data_dir) else None


def test_a_second_run_goes_on_with_the_same_data(data_dir: Path) -> None:
    """Same project, same keys, same events; Ctrl-C ends with status 0 and leaves no process."""
    first = launch(data_dir)
    assert first.post([make_event("kept")]).status_code == 200
    first.trend_reaches("kept", 1)
    assert first.stop() == 0
    until(lambda: gone(data_dir), what="no process left", seconds=60)
    with running_stack(data_dir) as second:
        assert second.connection.project_id == first.connection.project_id
        assert second.connection.private_key == first.connection.private_key
        second.trend_reaches("kept", 1)


def test_killing_the_supervisor_leaves_no_orphans(data_dir: Path) -> None:
    """After `kill -9` the children die, and the next start works on the same directory."""
    stack = launch(data_dir)
    assert stack.post([make_event("kept")]).status_code == 200
    stack.kill_supervisor()
    with running_stack(data_dir) as second:
        second.trend_reaches("kept", 1)


def test_status_and_logs_show_every_component(stack: Stack) -> None:
    """State, pid, uptime, restarts, readiness, memory, version; and the queue's lag."""
    stack.wait_ready()
    told = stack.status()
    assert {"postgres", "nats", "clickhouse", "api", "events"} <= set(told)
    for name in ("postgres", "nats", "clickhouse", "api", "events"):
        assert told[name]["state"] == "READY"
        assert told[name]["restarts"] == 0
        assert isinstance(told[name]["pid"], int)

    def shown() -> str | None:
        table = pug("status", data_dir=stack.data_dir)
        return table.stdout if table.returncode == 0 else None

    assert "postgres" in until(shown, what="status 0", seconds=60)
    assert pug("logs", "postgres", data_dir=stack.data_dir).stdout


def test_a_second_instance_is_refused(stack: Stack) -> None:
    """One line that names the holder."""
    told = pug("run", data_dir=stack.data_dir)
    assert told.returncode == 1
    assert "pid" in told.stderr.splitlines()[-1]


def test_a_taken_port_is_named_with_its_owner(data_dir: Path) -> None:
    """The public port is the operator's choice, so another one is not picked silently."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = pug("run", "--set", f"api.port={port}", data_dir=data_dir)
    last = told.stderr.splitlines()[-1]
    assert told.returncode != 0
    assert f"port {port} is in use by pid {os.getpid()}" in last
    assert "set api.port" in last


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands where the data directory should be."""
    (tmp_path / "file").write_text("")
    told = pug("run", data_dir=tmp_path / "file" / "data")
    assert told.returncode == 3
    assert str(tmp_path / "file" / "data") in told.stderr.splitlines()[-1]


def test_wrong_settings_are_one_line(data_dir: Path) -> None:
    """What, where from, what is expected."""
    told = pug("run", "--set", "worker.insert_wait=3", data_dir=data_dir)
    assert told.returncode == 3
    assert told.stderr.count("\n") == 1
    assert "a duration with its unit" in told.stderr


def test_status_without_an_appliance_says_so(data_dir: Path) -> None:
    """Exit status 7 and a remedy."""
    told = pug("status", data_dir=data_dir)
    assert told.returncode == 7
    assert "pug-appliance run" in told.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize(("options", "said"), [("ro", "read-only"), ("size=1m", "free")])
def test_a_read_only_or_full_disk_is_named(tmp_path: Path, options: str, said: str) -> None:
    """One line with the path and the remedy."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        told = pug("run", data_dir=place / "data")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    assert told.returncode == 3
    assert said in told.stderr.splitlines()[-1]
    assert str(place) in told.stderr.splitlines()[-1]


def test_a_stale_lock_is_no_obstacle(data_dir: Path) -> None:
    """Lock and pid files of a crashed run do not stop the next one."""
    stack = launch(data_dir)
    children = psutil.Process(stack.process.pid).children(recursive=True)
    stack.kill_supervisor()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    with running_stack(data_dir) as second:
        second.wait_answering()
