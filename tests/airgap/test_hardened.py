"""Hosts that were made strict: the life goes on there too (T13)."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.guest import Guest, guest_machine
from tests.support.installed import Installed
from tests.support.releases import Releases

USER_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")


@pytest.fixture
def strict_guest(tmp_path: Path) -> Generator[Guest]:
    """A guest with a /tmp that runs nothing and, where this may be set, no user namespaces."""
    before = USER_NAMESPACES.read_text()
    try:
        USER_NAMESPACES.write_text("0")
    except PermissionError:
        print("user.max_user_namespaces cannot be set here (no CAP_SYS_RESOURCE)")
        before = ""
    try:
        options = ("--tmpfs=/tmp:mode=1777,noexec,nosuid,nodev",)
        with guest_machine(tmp_path, f"pugs{os.getpid() % 100000}", options=options) as machine:
            yield machine
    finally:
        if before:
            USER_NAMESPACES.write_text(before)


def test_the_life_on_a_strict_host(strict_guest: Guest, releases: Releases) -> None:
    """noexec /tmp, umask 077, no user namespaces, no default route, no name server."""
    guest = strict_guest
    guest.run("ip", "route", "del", "default")
    guest.inside("/etc/resolv.conf").write_text("")
    assert guest.shell("cp /bin/true /tmp/true && /tmp/true", check=False).returncode != 0
    releases.copy_into(guest, releases.first)
    where = f"/root/{releases.first_name}"
    guest.shell(f"umask 077 && tar xzf {releases.first.name}")
    guest.shell("umask 077 && ./pug-appliance install", directory=where)
    appliance = Installed(guest)
    appliance.make_project()
    appliance.send("strict", 5)
    appliance.shows("strict", 5)
    guest.shell("umask 077 && pug-appliance backup create && pug-appliance backup verify")
    guest.reboot()
    guest.run("ip", "route", "del", "default", check=False)
    appliance.wait_answering()
    appliance.send("strict", 5)
    appliance.shows("strict", 10)
    guest.shell("umask 077 && pug-appliance uninstall --purge --yes")
