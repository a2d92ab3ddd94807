"""A host whose clock is wrong by years, and whose kernel has no user namespaces (T13).

The other guests share clock and kernel with this machine, so this one runs in QEMU without KVM: it
is ten times slower, more on a busy machine, and runs with `scripts/test --airgap` only.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest

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
PATIENCE = 20


@pytest.fixture
def machine(tmp_path: Path, releases: Releases) -> Generator[Machine]:
    """A machine with the first release in root's home, as a tarball."""
    with own_kernel_machine(
        tmp_path,
        battery=BATTERY,
        files={releases.first.name: releases.first},
        settings={"user.max_user_namespaces": "0"},
    ) as booted:
        yield booted


class Life:
    """The appliance in the machine, and what it must not lose."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.appliance = Installed(machine, patience=PATIENCE)
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


def test_the_life_with_a_wrong_clock(machine: Machine, releases: Releases) -> None:
    """Years in the past, years in the future, back while running, back at a reboot."""
    assert machine.run("cat", "/proc/sys/user/max_user_namespaces").stdout.strip() == "0"
    assert "unshare" not in machine.shell("unshare --user true 2>/dev/null || true").stdout
    life = Life(machine)
    machine.set_clock(PAST)
    with told("unpacking"):
        machine.run("tar", "xzf", releases.first.name)
    with told("installing"):
        said = machine.run("./pug-appliance", "install", directory=f"/root/{releases.first_name}")
    assert "clock: the clock says 2023-03-01" in said.stderr
    assert "before this release was made" in said.stderr
    assert "user namespaces are switched off" in said.stderr
    with told("first use, in the past"):
        machine.shell("umask 077; echo correct-horse-battery-staple >password")
        life.appliance.pug(
            *("user", "create", "--email", "operator@pug.test"),
            *("--password-file", "/root/password"),
        )
        life.appliance.make_project()
        life.use()
    with told("backup and its verification"):
        life.back_up()
        life.appliance.pug("backup", "verify")
    machine.set_clock(FUTURE)
    with told("use and backup, seven years later"):
        life.use()
        life.back_up()
    machine.set_clock(machine.now() - timedelta(hours=2))
    with told("use and backup, two hours back"):
        life.use()
        life.back_up()
        assert life.finding("clock-jump")[0] == "failed"
    with told("reboot with an empty battery"):
        machine.reboot(battery=BATTERY)
        life.appliance.wait_answering()
    with told("use and backup, years back"):
        assert machine.now() < FUTURE
        life.use()
        life.back_up()
    severity, cause = life.finding("clock-jump")
    assert severity == "failed"
    assert "before this release was made" in cause or "the clock went back" in cause
    assert life.finding("signature")[0] == "ok"
    with told("pruning to one day, and verifying what is left"):
        life.appliance.pug("backup", "prune", "--keep", "1")
        assert life.listed_backups() == life.backups[-1:]
        life.appliance.pug("backup", "verify")
    life.appliance.shows("clockwork", life.sent)


@contextmanager
def told(what: str) -> Generator[None]:
    """Print how long a part of the test took."""
    started = monotonic()
    yield
    print(f"{what}: {monotonic() - started:.1f} s", flush=True)
