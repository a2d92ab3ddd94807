"""Upgrade and rollback of an installed appliance under load, and cut off at every step.

Clients repeat nothing: whatever they are refused is a failure (T7, T8, T9).
"""

from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic

import pytest

from tests.airgap.upgrade.cut_off import Sweep, places
from tests.support.guest import Guest
from tests.support.installed import Installed, Load
from tests.support.releases import Releases


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
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("rollback", [False, True], ids=["upgrade", "rollback"])
def test_cut_off_anywhere_it_ends_wholly(guest: Guest, releases: Releases, rollback: bool) -> None:
    """T9: killed or without power at every line of the journal, and every event once."""
    sweep = Sweep(guest, releases, rollback=rollback)
    found = {str(place): sweep.meet(place)[1] for place in places(sweep.steps)}
    assert {place: problems for place, problems in found.items() if problems} == {}
