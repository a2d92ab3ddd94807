"""Hosts that were made strict: the life goes on there too (T13)."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.guest import Guest, guest_machine
from tests.support.installed import Installed
from tests.support.releases import Releases


@pytest.fixture
def strict_guest(tmp_path: Path) -> Generator[Guest]:
    """A guest with a /tmp that runs nothing, and without user namespaces."""
    options = ("--tmpfs=/tmp:mode=1777,noexec,nosuid,nodev",)
    name = f"pugs{os.getpid() % 100000}"
    with guest_machine(tmp_path, name, options=options, user_namespaces=False) as machine:
        yield machine


def assert_strict(guest: Guest) -> None:
    """The controls: what a strict host forbids is forbidden here."""
    assert guest.shell("cp /bin/true /tmp/true && /tmp/true", check=False).returncode != 0
    assert guest.run("unshare", "--user", "true", check=False).returncode != 0
    users = ("systemd-run", "--quiet", "--wait", "--property=PrivateUsers=yes", "true")
    assert guest.run(*users, check=False).returncode != 0


def test_the_life_on_a_strict_host(strict_guest: Guest, releases: Releases) -> None:
    """noexec /tmp, umask 077, no user namespaces, no default route, no name server."""
    guest = strict_guest
    guest.run("ip", "route", "del", "default")
    guest.inside("/etc/resolv.conf").write_text("")
    assert_strict(guest)
    releases.copy_into(guest, releases.first)
    where = f"/root/{releases.first_name}"
    guest.shell(f"umask 077 && tar xzf {releases.first.name}")
    guest.shell("umask 077 && ./pug-appliance install", directory=where)
    appliance = Installed(guest)
    appliance.make_project()
    appliance.send("strict", 5)
    appliance.shows("strict", 5)
    guest.shell("umask 077 && pug-appliance backup create && pug-appliance backup verify")
    releases.copy_into(guest, releases.second)
    guest.shell(f"umask 077 && pug-appliance upgrade /root/{releases.second.name}")
    appliance.send("strict", 5)
    appliance.shows("strict", 10)
    guest.reboot()
    guest.run("ip", "route", "del", "default", check=False)
    assert_strict(guest)
    appliance.wait_answering()
    appliance.send("strict", 5)
    appliance.shows("strict", 15)
    guest.shell("umask 077 && pug-appliance rollback")
    appliance.shows("strict", 15)
    guest.shell("umask 077 && pug-appliance backup restore --yes")
    appliance.wait_answering()
    appliance.shows("strict", 5)
    guest.shell("umask 077 && pug-appliance uninstall --purge --yes")
