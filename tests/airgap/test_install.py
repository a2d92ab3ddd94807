"""Installing on a real machine: cut off anywhere, finished by installing again, gone at a purge."""

import signal
from time import monotonic

import pytest

from tests.support.guest import Guest
from tests.support.installed import Installed
from tests.support.releases import Releases

STEPS = (
    "accounts",
    "folders",
    "release",
    "keys",
    "secrets",
    "config",
    "links",
    "labels",
    "units",
    "start",
    "disk",
)
KILLED = -signal.SIGKILL
MACHINE = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /tmp"
    " -o -path /root -o -path /var/log -o -path /var/cache -o -path /var/tmp \\) -prune"
    " -o -printf '%y %m %u %g %l %p\\n' | grep -v -e ' /var/lib/systemd/' -e ' /etc/.*-$' | sort;"
    " sort /etc/passwd /etc/group /etc/shadow /etc/gshadow | cut -d: -f1,3,4;"
    " systemctl list-unit-files --no-legend | sort;"
    " systemctl list-units --all --no-legend 'pug*'"
)
"""Every file with mode and owner, every account, every unit."""


def machine(guest: Guest) -> list[str]:
    return guest.shell(MACHINE).stdout.splitlines()


def install(guest: Guest, releases: Releases, *, drill: str = "") -> int:
    done = guest.run(
        "./pug-appliance",
        "install",
        directory=f"/root/{releases.first_name}",
        environment={"PUG_DRILL": drill} if drill else {},
        check=not drill,
    )
    return done.returncode


def test_a_machine_is_as_before_after_a_purge(guest: Guest, releases: Releases) -> None:
    """Files, modes, owners, accounts and units: nothing is left, whatever was used meanwhile."""
    releases.unpack_into(guest, releases.first)
    before = machine(guest)
    install(guest, releases)
    appliance = Installed(guest)
    appliance.make_project()
    appliance.send("gone", 3)
    appliance.shows("gone", 3)
    guest.run("pug-appliance", "backup", "create")
    guest.run("pug-appliance", "uninstall", "--purge", "--yes")
    assert machine(guest) == before


def test_data_survives_an_uninstall(guest: Guest, releases: Releases) -> None:
    """Without `--purge` the next install finds everything again."""
    releases.unpack_into(guest, releases.first)
    install(guest, releases)
    appliance = Installed(guest)
    appliance.make_project()
    appliance.send("kept", 3)
    guest.run("pug-appliance", "uninstall")
    assert not guest.inside("/opt/pug").exists()
    install(guest, releases)
    appliance.send("kept", 3)
    appliance.shows("kept", 6)


@pytest.mark.parametrize("power", ["process", "machine"])
def test_an_install_cut_off_anywhere_is_finished_by_installing_again(
    guest: Guest, releases: Releases, power: str
) -> None:
    """`kill -9`, or a power cut of the machine, before and after every step."""
    releases.unpack_into(guest, releases.first)
    guest.run("sync")
    before = machine(guest)
    marks = ("begun", "done") if power == "process" else ("done",)
    for step in STEPS:
        for mark in marks:
            assert install(guest, releases, drill=f"{step}.{mark}") == KILLED, (step, mark)
            if power == "machine":
                guest.cut_power()
                guest.boot()
            started = monotonic()
            install(guest, releases)
            appliance = Installed(guest)
            appliance.make_project()
            appliance.send("after", 3)
            print(f"{step}.{mark} ({power}): whole after {monotonic() - started:.1f} s")
            guest.shell("test ! -e /opt/pug/journal/open.jsonl")
            guest.run("pug-appliance", "uninstall", "--purge", "--yes")
            assert machine(guest) == before, (step, mark)


@pytest.mark.parametrize("step", ["accounts", "release", "units", "start"])
def test_half_an_installation_can_be_taken_away(
    guest: Guest, releases: Releases, step: str
) -> None:
    """`uninstall` from the unpacked bundle works when the installed command never came to be."""
    releases.unpack_into(guest, releases.first)
    before = machine(guest)
    assert install(guest, releases, drill=f"{step}.begun") == KILLED
    guest.run(
        *("./pug-appliance", "uninstall", "--purge", "--yes"),
        directory=f"/root/{releases.first_name}",
    )
    assert machine(guest) == before


def test_a_machine_that_is_not_ready_is_left_alone(guest: Guest, releases: Releases) -> None:
    """All findings at once, exit status 4, and nothing is changed."""
    releases.unpack_into(guest, releases.first)
    where = f"/root/{releases.first_name}"
    before = machine(guest)
    squatter = ("systemd-socket-activate", "--listen=8080", "cat")
    guest.run("systemd-run", "--quiet", "--unit=squatter", *squatter)
    guest.run("mount", "-t", "tmpfs", "-o", "noexec,mode=755", "tmpfs", "/opt")
    done = guest.run("./pug-appliance", "install", directory=where, check=False)
    assert done.returncode == 4
    assert "noexec" in done.stderr
    assert "port 8080 (public) is in use by pid" in done.stderr
    guest.run("umount", "/opt")
    guest.run("systemctl", "stop", "squatter")
    assert machine(guest) == before
    elsewhere = ("--prefix", "/srv/pug/programs", "--data-dir", "/srv/pug/data", "--port", "9090")
    guest.run("./pug-appliance", "install", *elsewhere, directory=where)
    appliance = Installed(guest, port=9090)
    appliance.make_project()
    appliance.send("elsewhere", 3)
    appliance.shows("elsewhere", 3)
    guest.run("pug-appliance", "uninstall", "--purge", "--yes")


def test_a_bundle_that_was_changed_is_refused(guest: Guest, releases: Releases) -> None:
    """One byte of one file, or of the manifest: exit status 5, and the program never runs."""
    releases.unpack_into(guest, releases.first)
    where = f"/root/{releases.first_name}"
    guest.shell("printf x >> engines/nats/nats-server", directory=where)
    done = guest.run("./pug-appliance", "install", directory=where, check=False)
    assert done.returncode == 5
    assert "engines/nats/nats-server" in done.stderr
    assert not guest.inside("/opt/pug/current").exists()
    guest.shell("sed -i s/x86_64/x86_65/ manifest.json", directory=where)
    done = guest.run("./pug-appliance", "install", directory=where, check=False)
    assert done.returncode == 5
    assert "signature" in done.stderr
