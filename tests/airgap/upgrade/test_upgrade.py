"""Upgrade and rollback of an installed appliance under load, and cut off at every step.

Clients repeat nothing: whatever they are refused is a failure (T7, T8, T9).
"""

from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic

import pytest

from tests.support.installed import Installed, Load
from tests.support.releases import Releases

STEPS = (
    *("point", "place", "migrate", "bridge", "return", "units", "switch", "restart", "health"),
    *("commit", "unbridge", "applied", "keys", "prune"),
)
SWITCHING = STEPS[STEPS.index("bridge") : STEPS.index("keys")]
KILLED = 128 + 9


@contextmanager
def nobody_notices(appliance: Installed, kind: str) -> Generator[Load]:
    """Clients send for the length of the block; none is refused, every event is there once."""
    with appliance.load(kind) as load:
        yield load
    assert (load.count("refused"), load.report["failures"]) == (0, {})
    appliance.shows(kind, int(load.count("acknowledged_events")))
    print(f"{kind}: {load.report}")


def version_of(appliance: Installed) -> str:
    """The release in use."""
    return appliance.guest.run("readlink", "/opt/pug/current").stdout.strip().rpartition("/")[2]


def copy(appliance: Installed, releases: Releases, name: str) -> str:
    """A bundle on the guest's disk."""
    bundle = getattr(releases, name)
    releases.copy_into(appliance.guest, bundle)
    return f"/root/{bundle.name}"


def test_clients_notice_neither_upgrade_nor_rollback(
    installed: Installed, releases: Releases
) -> None:
    """T7: with one more migration; T8: back again in seconds, with every event."""
    bundle = copy(installed, releases, "second")
    with nobody_notices(installed, "upgraded"):
        installed.pug("upgrade", bundle)
    assert version_of(installed) == "0.2.0"
    installed.shows("upgraded", int(installed.trend("upgraded")))
    with nobody_notices(installed, "rolled_back"):
        installed.pug("rollback")
    assert version_of(installed) == "0.1.0"
    installed.guest.reboot()
    installed.wait_answering()
    assert version_of(installed) == "0.1.0"


def test_a_delta_upgrades_as_well(installed: Installed, releases: Releases) -> None:
    bundle = copy(installed, releases, "delta")
    with nobody_notices(installed, "patched"):
        installed.pug("upgrade", bundle)
    assert version_of(installed) == "0.2.0"


@pytest.mark.parametrize("name", ["broken", "unsteady", "unmigratable"])
def test_a_bad_release_undoes_itself(installed: Installed, releases: Releases, name: str) -> None:
    """T8: status 6, and the release in use never stopped answering."""
    bundle = copy(installed, releases, name)
    with nobody_notices(installed, name):
        failed = installed.pug("upgrade", bundle, check=False)
    assert failed.returncode == 6, failed.stderr
    assert version_of(installed) == "0.1.0"
    assert installed.pug("recover").stdout == "nothing was interrupted\n"


def test_back_to_the_restore_point_with_every_event(
    installed: Installed, releases: Releases
) -> None:
    """T8: the stores of before the upgrade, and everything acknowledged since stored again once."""
    bundle = copy(installed, releases, "second")
    installed.send("before", 10)
    installed.pug("upgrade", bundle)
    installed.send("after", 10)
    started = monotonic()
    with installed.load("during") as load:
        installed.pug("rollback", "--to-restore-point", "--yes")
        print(f"rollback to the restore point: {monotonic() - started:.1f} s")
    assert version_of(installed) == "0.1.0"
    print(f"during: {load.report}")
    assert load.count("refused") == 0
    for kind, count in (("before", 10), ("after", 10)):
        installed.shows(kind, count)
    assert installed.trend("during") >= load.count("acknowledged_events")


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["begun", "done"])
@pytest.mark.parametrize("step", STEPS)
def test_a_power_cut_at_any_step_ends_wholly(
    installed: Installed, releases: Releases, step: str, mark: str
) -> None:
    """T9: killed there, power cut, booted: one release or the other, and every event once."""
    bundle = copy(installed, releases, "second")
    cut_off(installed, ("upgrade", bundle), step, mark, power=True)
    decided = STEPS.index(step) > STEPS.index("commit") or (step, mark) == ("commit", "done")
    assert version_of(installed) == ("0.2.0" if decided else "0.1.0")


def cut_off(
    appliance: Installed, command: tuple[str, ...], step: str, mark: str, *, power: bool
) -> None:
    """Kill a command at a line of its journal under load, recover, and look."""
    guest = appliance.guest
    kind = f"cut_{step}_{mark}"
    with appliance.load(kind) as load:
        drill = {"PUG_DRILL": f"{step}.{mark}"}
        killed = guest.run("pug-appliance", *command, environment=drill, check=False)
        assert killed.returncode in {KILLED, -9}, killed.stderr
        if not power:
            guest.run("pug-appliance", "recover")
    if power:
        guest.cut_power()
        guest.boot()
    appliance.wait_answering()
    assert load.count("refused") == 0
    if not load.report["failures"]:
        appliance.shows(kind, int(load.count("acknowledged_events")))
    assert guest.run("pug-appliance", "recover").stdout == "nothing was interrupted\n"
    assert not guest.inside("/opt/pug/bridge").is_symlink()
