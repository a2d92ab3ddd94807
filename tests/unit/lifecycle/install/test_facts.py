"""What is found out about the machine the tests run on."""

import os
import socket
from pathlib import Path

import pytest

from appliance.lifecycle.facts import WantedPort, gather_facts, look_at_file_system
from appliance.lifecycle.layout import Layout
from tests.support.clocks import FixedClock


def layout_in(folder: Path) -> Layout:
    return Layout(
        prefix=folder / "opt/pug",
        config_file=folder / "etc/pug/appliance.toml",
        data_dir=folder / "var/pug",
        unit_dir=folder / "units",
        command=folder / "bin/pug-appliance",
    )


def test_an_empty_machine(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    facts = gather_facts(layout, (), clock=FixedClock())
    assert facts.memory_bytes > 1 << 28
    assert facts.cpus >= 1
    assert facts.glibc.startswith("2.")
    assert facts.root == (os.geteuid() == 0)
    assert facts.installed.version == ""
    assert facts.installed.prefix is None
    assert facts.prefix.path == layout.prefix
    assert facts.prefix.free_bytes > 0
    assert not layout.prefix.exists()


def test_what_an_earlier_installation_left(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    for folder in (layout.releases / "1.0.0", layout.journal, layout.unit_dir):
        folder.mkdir(parents=True)
    layout.command.parent.mkdir()
    layout.current.symlink_to("releases/1.0.0")
    layout.command.symlink_to(layout.binary)
    (layout.unit_dir / "pug-appliance.socket").write_text("")
    (layout.unit_dir / "ssh.service").write_text("")
    layout.open_journal.write_text('{"kind":"install","started_at":"x","parameters":{}}\n{"st')
    installed = gather_facts(layout, (), clock=FixedClock()).installed
    assert installed.version == "1.0.0"
    assert installed.prefix == layout.prefix
    assert installed.units == ("pug-appliance.socket",)
    assert installed.operation == "install"
    assert not installed.command_taken
    assert not installed.config


def test_a_foreign_command_is_seen(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    layout.command.parent.mkdir()
    layout.command.write_text("#!/bin/sh\n")
    assert gather_facts(layout, (), clock=FixedClock()).installed.command_taken


def test_a_taken_port_names_its_owner(tmp_path: Path) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        taken: int = door.getsockname()[1]
        wanted = WantedPort(purpose="public", setting="--port", host="0.0.0.0", port=taken)
        (port,) = gather_facts(layout_in(tmp_path), (wanted,), clock=FixedClock()).ports
    assert f"pid {os.getpid()}" in port.owner or port.owner == "another process"
    (port,) = gather_facts(layout_in(tmp_path), (wanted,), clock=FixedClock()).ports
    assert port.owner == port.problem == ""


def test_a_foreign_address_is_a_problem(tmp_path: Path) -> None:
    wanted = WantedPort(purpose="public", setting="--listen", host="192.0.2.1", port=8080)
    (port,) = gather_facts(layout_in(tmp_path), (wanted,), clock=FixedClock()).ports
    assert port.owner == ""
    assert "assign" in port.problem


@pytest.mark.parametrize("path", ["/proc/self", "/"])
def test_a_mount_is_found(path: str) -> None:
    facts = look_at_file_system(Path(path))
    assert facts.kind
    assert Path(path).is_relative_to(facts.mount_point) or facts.kind == "proc"
