"""The whole life of an appliance on a machine without network: the way of an operator."""

from time import monotonic

from tests.support.guest import Guest
from tests.support.installed import Installed
from tests.support.releases import Releases


def snapshot(guest: Guest) -> set[str]:
    """Every file, account and unit of a guest that an install could leave behind."""
    listed = guest.shell(
        "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /run -prune"
        " -o -path /var/log -prune -o -path /root -prune -o -path /tmp -prune"
        " -o -path /var/cache -prune -o -path /var/lib/systemd -prune -o -print"
    ).stdout
    accounts = guest.shell("cut -d: -f1 /etc/passwd /etc/group").stdout
    return set(listed.splitlines()) | {f"account {name}" for name in accounts.split()}


def test_the_first_answer_comes_soon_after_the_tarball(guest: Guest, releases: Releases) -> None:
    """T1: unpack, install, first event visible; no prompt, no packet leaves [targets]."""
    releases.copy_into(guest, releases.first)
    packets = guest.packets_out()
    started = monotonic()
    guest.run("tar", "xzf", releases.first.name)
    unpacked = monotonic()
    installing = guest.run("./pug-appliance", "install", directory=f"/root/{releases.first_name}")
    installed_at = monotonic()
    appliance = Installed(guest)
    appliance.make_project()
    appliance.send("first_event", 3)
    appliance.shows("first_event", 3)
    answered = monotonic()
    print(
        f"T1 tar {unpacked - started:.1f} s, install {installed_at - unpacked:.1f} s, "
        f"project, event and answer {answered - installed_at:.1f} s, "
        f"in all {answered - started:.1f} s"
    )
    assert "user create" in installing.stdout + installing.stderr
    assert guest.packets_out() == packets


def test_a_reboot_and_a_power_cut_lose_nothing(installed: Installed) -> None:
    """T9: what was acknowledged is there once, and everything starts again by itself."""
    guest = installed.guest
    installed.send("before", 10)
    guest.reboot()
    installed.wait_answering()
    installed.shows("before", 10)
    installed.send("cut", 10)
    guest.cut_power()
    guest.boot()
    installed.wait_answering()
    installed.shows("cut", 10)


def test_killed_services_come_back(installed: Installed) -> None:
    """`kill -9` of every unit's main process: systemd and the supervisor bring all of it back."""
    guest = installed.guest
    installed.send("killed", 5)
    for unit in ("pug-nats", "pug-clickhouse", "pug-postgres", "pug-appliance"):
        guest.run("systemctl", "kill", "--signal=KILL", f"{unit}.service")
    installed.wait_answering()
    installed.send("killed", 5)
    installed.shows("killed", 10)


def test_a_purge_leaves_nothing_behind(guest: Guest, releases: Releases) -> None:
    """`uninstall` keeps the data, `--purge` leaves the machine as it was."""
    before = snapshot(guest)
    releases.unpack_into(guest, releases.first)
    guest.run("./pug-appliance", "install", directory=f"/root/{releases.first_name}")
    assert snapshot(guest) > before
    guest.run("pug-appliance", "uninstall", "--purge", "--yes")
    assert snapshot(guest) == before
    assert guest.shell("ps -eo args | grep -c '[p]ug-' || true").stdout.strip() == "0"


def test_a_backup_carries_everything_to_a_machine_that_has_nothing(
    installed: Installed, releases: Releases
) -> None:
    """T10: created, verified in a scratch area, restored with one command after a purge."""
    guest = installed.guest
    installed.send("kept", 20)
    installed.shows("kept", 20)
    guest.run("mkdir", "-p", "/mnt/stick")
    installed.pug("backup", "create", "--target", "/mnt/stick")
    installed.pug("backup", "verify", "--target", "/mnt/stick")
    installed.pug("uninstall", "--purge", "--yes")
    guest.run("./pug-appliance", "install", directory=f"/root/{releases.first_name}")
    installed.pug("backup", "restore", "--target", "/mnt/stick", "--yes")
    installed.wait_answering()
    installed.shows("kept", 20)
    installed.send("kept", 5)
    installed.shows("kept", 25)
