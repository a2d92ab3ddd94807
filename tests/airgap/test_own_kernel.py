"""A host whose clock is wrong by years, and whose kernel has no user namespaces (T13).

The other guests share clock and kernel with this machine, so this one runs User Mode Linux: calls
of its kernel are dear, and it runs with `scripts/test --airgap` only.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest

from tests.support.guest import Guest
from tests.support.installed import Installed
from tests.support.machine import Machine, own_kernel_machine, why_not
from tests.support.releases import Releases

pytestmark = [
    pytest.mark.timeout(5400),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

BATTERY = datetime(2019, 3, 1, tzinfo=UTC)
"""What the clock says after power was off: its battery is empty."""
PAST = datetime(2023, 3, 1, tzinfo=UTC)
FUTURE = datetime(2030, 3, 1, tzinfo=UTC)
SETTINGS = {"user.max_user_namespaces": "0"}
PATIENCE = 20


@pytest.fixture
def bare(tmp_path: Path, releases: Releases) -> Guest:
    """A root that was never booted, with both releases in root's home as tarballs."""
    guest = Guest(tmp_path, f"pugk{os.getpid() % 100000}")
    releases.copy_into(guest, releases.first)
    releases.copy_into(guest, releases.second)
    return guest


@contextmanager
def with_own_kernel(guest: Guest) -> Generator[Machine]:
    """The root of a guest that is off, booted with a kernel and a clock of its own."""
    folder = guest.root.parent
    with own_kernel_machine(folder, guest.root, battery=BATTERY, settings=SETTINGS) as machine:
        yield machine


class Life:
    """The appliance in the machine, and what it must not lose."""

    def __init__(self, machine: Machine, appliance: Installed) -> None:
        self.machine = machine
        self.appliance = appliance
        self.appliance.around = timedelta(days=1820)
        self.sent = 0
        self.backups: list[str] = []

    def use(self) -> None:
        """Five events dated by the machine's clock, one of a client that knows the time."""
        self.appliance.send("clockwork", 5, at=self.machine.now())
        self.appliance.send("clockwork", 1)
        self.sent += 6
        self.appliance.shows("clockwork", self.sent)

    def back_up(self) -> None:
        """A backup as the timer makes it, which prunes; it and all before it are there."""
        made = self.appliance.pug_json("backup", "create", "--scheduled")["backups"]
        assert isinstance(made, list)
        assert isinstance(made[0], dict)
        self.backups.append(str(made[0]["id"]))
        assert self.listed_backups()[-1] == self.backups[-1]
        assert set(self.backups) <= set(self.listed_backups())

    def listed_backups(self) -> list[str]:
        """What `backup list` shows, in its order."""
        listed = json.loads(self.appliance.pug("backup", "list", "--json").stdout)
        return [one["id"] for one in listed["backups"]]

    def finding(self, check: str) -> tuple[str, str]:
        """Severity and cause that the doctor tells for one check."""
        told = json.loads(self.appliance.pug("doctor", "--json", check=False).stdout)
        found = next(one for one in told["findings"] if one["check"] == check)
        return found["severity"], found["cause"]


def test_the_whole_life_years_in_the_past(bare: Guest, releases: Releases) -> None:
    """From the tarball to the purge, with a clock that is older than the release."""
    with with_own_kernel(bare) as machine:
        assert machine.run("cat", "/proc/sys/user/max_user_namespaces").stdout.strip() == "0"
        assert machine.run("unshare", "--user", "true", check=False).returncode != 0
        machine.set_clock(PAST)
        with told("unpacking"):
            machine.run("tar", "xzf", releases.first.name)
        where = f"/root/{releases.first_name}"
        with told("installing"):
            said = machine.run("./pug-appliance", "install", directory=where).stderr
        assert "clock: the clock says 2023-03-01" in said
        assert "before this release was made" in said
        assert "user namespaces are switched off" in said
        appliance = Installed(machine, patience=PATIENCE)
        life = Life(machine, appliance)
        with told("first use, and a backup"):
            appliance.make_project()
            life.use()
            life.back_up()
        with told("upgrading"):
            appliance.pug("upgrade", f"/root/{releases.second.name}")
        life.use()
        with told("rolling back"):
            appliance.pug("rollback")
            appliance.wait_answering()
        appliance.shows("clockwork", life.sent)
        with told("restoring"):
            appliance.pug("backup", "restore", life.backups[0], "--yes")
            appliance.wait_answering()
        appliance.shows("clockwork", 6)
        assert machine.now() < PAST + timedelta(days=1)
        with told("purging"):
            appliance.pug("uninstall", "--purge", "--yes")


def test_the_life_while_the_clock_jumps(bare: Guest, releases: Releases) -> None:
    """Years back, years ahead, two hours back while running, back at a reboot."""
    with told("installing in a quick guest"):
        appliance = installed_quickly(bare, releases)
    with with_own_kernel(bare) as machine:
        appliance.guest = machine
        life = Life(machine, appliance)
        with told("starting"):
            appliance.wait_answering()
        machine.set_clock(PAST)
        with told("use, backup and its verification, years back"):
            life.use()
            life.back_up()
            appliance.pug("backup", "verify")
        machine.set_clock(FUTURE)
        with told("use and backup, seven years ahead"):
            life.use()
            life.back_up()
        machine.set_clock(machine.now() - timedelta(hours=2))
        with told("use and backup, two hours back"):
            life.use()
            life.back_up()
            assert life.finding("clock-jump")[0] == "failed"
        with told("reboot with an empty battery"):
            machine.reboot(battery=BATTERY)
            appliance.wait_answering()
        with told("use and backup, years back"):
            assert machine.now() < FUTURE
            life.use()
            life.back_up()
        severity, cause = life.finding("clock-jump")
        assert severity == "failed"
        assert "before this release was made" in cause or "the clock went back" in cause
        assert life.finding("signature")[0] == "ok"
        with told("pruning to one day, and verifying what is left"):
            appliance.pug("backup", "prune", "--keep", "1")
            assert life.listed_backups() == life.backups[-1:]
            appliance.pug("backup", "verify")
        appliance.shows("clockwork", life.sent)


def installed_quickly(guest: Guest, releases: Releases) -> Installed:
    """Install where the kernel and the clock are those of this machine, then turn it off."""
    appliance = Installed(guest, patience=PATIENCE)
    try:
        guest.boot()
        guest.run("tar", "xzf", releases.first.name)
        where = f"/root/{releases.first_name}"
        guest.run("./pug-appliance", "install", directory=where)
        guest.shell("umask 077; echo correct-horse-battery-staple >password")
        appliance.pug(
            *("user", "create", "--email", "operator@pug.test"),
            *("--password-file", "/root/password"),
        )
        appliance.make_project()
        guest.shell(f"rm -r {where} {releases.first.name}")
        guest.shut_down()
    finally:
        guest.cut_power()
    return appliance


@contextmanager
def told(what: str) -> Generator[None]:
    """Print how long a part of the test took."""
    started = monotonic()
    yield
    print(f"{what}: {monotonic() - started:.1f} s", flush=True)
