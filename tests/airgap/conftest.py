"""Bundles and guests for the tests that drive a booted machine without network.

Bundles are built by `scripts/bundle`, once a run; `AIRGAP_BUNDLES` names a folder that has them
already.
"""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.guest import Guest, guest_machine, why_not
from tests.support.installed import REPOSITORY, Installed
from tests.support.releases import Releases

BUNDLES = os.environ.get("AIRGAP_BUNDLES", "")


SHORT_FORM = frozenset(
    {
        "test_the_first_answer_comes_soon_after_the_tarball",
        "test_a_reboot_and_a_power_cut_lose_nothing",
        "test_a_purge_leaves_nothing_behind",
        "test_a_backup_carries_everything_to_a_machine_that_has_nothing",
        "test_clients_notice_neither_upgrade_nor_rollback",
    }
)
"""What `.ci/run` has time for; the rest is marked slow and runs with `scripts/test --airgap`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a guest; where none can boot, say why."""
    reason = why_not()
    for item in items:
        if "tests/airgap" in str(item.path):
            item.add_marker(pytest.mark.airgap)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))
            if item.name not in SHORT_FORM:
                item.add_marker(pytest.mark.slow)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """The bundles of two releases and of a broken one, signed with one key."""
    folder = Path(BUNDLES) if BUNDLES else tmp_path_factory.mktemp("bundles")
    return Releases(REPOSITORY, folder)


@pytest.fixture
def guest(tmp_path: Path) -> Generator[Guest]:
    """A booted guest with nothing of ours in it."""
    with guest_machine(tmp_path, f"pug{os.getpid() % 100000}") as machine:
        yield machine


@pytest.fixture
def installed(guest: Guest, releases: Releases) -> Installed:
    """A guest in which the first release is installed and has a project."""
    releases.unpack_into(guest, releases.first)
    guest.run("./pug-appliance", "install", directory=f"/root/{releases.first_name}")
    appliance = Installed(guest)
    appliance.make_project()
    return appliance
