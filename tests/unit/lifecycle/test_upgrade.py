"""Upgrade and rollback: every step, cut off before and after, ends wholly old or wholly new."""

from pathlib import Path

import msgspec
import pytest

from appliance.base.errors import ConflictError, UnmetError
from appliance.lifecycle.journal import Journal, Mark
from appliance.lifecycle.manifest import BundleRefusedError
from appliance.lifecycle.operation import begin_operation, operation_lock
from appliance.lifecycle.recover import Recovery, recover
from appliance.lifecycle.releases import list_releases, prune_releases, version_of
from appliance.lifecycle.rollback import Rollbacker, prepare_rollback
from appliance.lifecycle.runner import RolledBackError
from appliance.lifecycle.steps import Plan
from appliance.lifecycle.switchover import APPLIANCE, Change
from appliance.lifecycle.upgrade import Upgrader, prepare_upgrade
from tests.support.bundles import CHANGED, TRUSTED, manifest_of, tar_of, write_bundle
from tests.support.played_machine import FIRST, PlayedMachine

pytestmark = pytest.mark.anyio

SECOND = "0.2.0"
BUNDLE = manifest_of(CHANGED, version=SECOND, release=2, schema={"postgres": 5})
STEPS = (
    *("point", "place", "migrate", "bridge", "return", "units", "switch", "restart", "health"),
    *("commit", "unbridge", "applied", "keys", "prune"),
)
COMMITTED = frozenset(STEPS[STEPS.index("unbridge") :])


class PowerCutError(BaseException):
    """The process is gone."""


@pytest.fixture
def machine(tmp_path: Path) -> PlayedMachine:
    return PlayedMachine(tmp_path)


def bundle(folder: Path, **changes: object) -> Path:
    return write_bundle(folder, tar_of(msgspec.structs.replace(BUNDLE, **changes), CHANGED))


def upgrader(machine: PlayedMachine) -> Upgrader:
    return Upgrader(machine.tools, make_point=machine.make_point)


async def upgrade(machine: PlayedMachine, folder: Path) -> None:
    await upgrader(machine).run(prepare_upgrade(bundle(folder), machine.tools))


async def roll_back(machine: PlayedMachine) -> None:
    prepared = await prepare_rollback(machine.tools, to_point=False)
    await Rollbacker(machine.tools, machine.origin).run(prepared)


async def recovered(machine: PlayedMachine) -> Recovery:
    journal = Journal.load(machine.layout.journal)
    return await recover(journal, machine.tools, machine.origin)


async def test_an_upgrade_switches_and_keeps_the_way_back(
    machine: PlayedMachine, tmp_path: Path
) -> None:
    await upgrade(machine, tmp_path)
    machine.wholly(SECOND, previous=FIRST)
    assert machine.points == [f"before the upgrade to {SECOND}"]
    assert machine.migrated == [f"{store} {SECOND}" for store in ("nats", "postgres", "clickhouse")]
    same = [machine.layout.release(v) / "engines/nats/nats-server" for v in (FIRST, SECOND)]
    assert same[0].samefile(same[1])


async def test_engines_that_did_not_change_are_left_alone(
    machine: PlayedMachine, tmp_path: Path
) -> None:
    await upgrade(machine, tmp_path)
    assert machine.running("pug-nats.service") == FIRST
    restarted = {argv[-1] for argv in machine.host.commands if "restart" in argv}
    assert restarted == {APPLIANCE}


DOORS = {
    FIRST: {"pug-nats.socket": "of the proxy", "pug-nats-proxy.service": "takes connections"},
    SECOND: {"pug-nats.socket": "of the engine"},
}


async def test_a_door_that_changes_is_closed_and_opened_with_its_engine(
    machine: PlayedMachine, tmp_path: Path
) -> None:
    """Both ways: a socket keeps the service it was started with."""
    machine.doors = DOORS
    machine.stands_at(FIRST, previous=FIRST)
    await upgrade(machine, tmp_path)
    around = ("pug-nats-proxy.service", "pug-nats.socket")
    machine.wholly(SECOND, previous=FIRST)
    await roll_back(machine)
    machine.wholly(FIRST, previous="")
    engines = [argv for argv in machine.host.commands if argv[-1] == "pug-nats.service"]
    stop = ("systemctl", "stop", *around, "pug-nats.service")
    start = ("systemctl", "start", "pug-nats.socket", "pug-nats.service")
    assert [argv for argv in engines if argv[1] in {"stop", "start"}] == [stop, start] * 2


async def test_doors_lead_back_to_the_engine_of_before(
    machine: PlayedMachine, tmp_path: Path
) -> None:
    machine.doors = DOORS
    machine.stands_at(FIRST, previous=FIRST)
    machine.broken.add(SECOND)
    with pytest.raises(RolledBackError):
        await upgrade(machine, tmp_path)
    machine.wholly(FIRST, previous=FIRST)


async def test_a_release_that_an_engine_runs_from_is_kept(
    machine: PlayedMachine, tmp_path: Path
) -> None:
    await upgrade(machine, tmp_path)
    machine.layout.previous.unlink()
    assert prune_releases(machine.layout, proc=machine.proc) == ()
    machine.cut_power()
    assert prune_releases(machine.layout, proc=machine.proc) == (FIRST,)


async def test_the_releases_are_listed(machine: PlayedMachine, tmp_path: Path) -> None:
    await upgrade(machine, tmp_path)
    first, second = list_releases(machine.layout, TRUSTED, proc=machine.proc)
    assert (first.version, first.previous, first.in_use, first.current) == (
        FIRST,
        True,
        True,
        False,
    )
    assert (second.version, second.current, second.signature) == (SECOND, True, "trusted")
    assert 0 < second.shared_bytes < second.size_bytes


@pytest.mark.parametrize("what", [SECOND, f"migration {SECOND}"])
async def test_a_bad_release_is_undone(machine: PlayedMachine, tmp_path: Path, what: str) -> None:
    machine.broken.add(what)
    with pytest.raises(RolledBackError) as caught:
        await upgrade(machine, tmp_path)
    assert caught.value.exit_status == 6
    machine.wholly(FIRST, previous="")
    assert not machine.layout.release(SECOND).exists()


@pytest.mark.parametrize("booting", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("mark", [Mark.BEGUN, Mark.DONE])
@pytest.mark.parametrize("name", STEPS)
async def test_an_upgrade_cut_off_anywhere_ends_wholly(
    machine: PlayedMachine, name: str, mark: Mark, booting: bool
) -> None:
    machine.put_release(BUNDLE, CHANGED, below=machine.layout.staging)
    change = Change(leaving=FIRST, wanted=SECOND, previous_before="", previous_after=FIRST)
    await _cut(machine, "upgrade", change, upgrader(machine).plan(change), (name, mark))
    if booting:
        machine.cut_power()
    outcome = await recovered(machine)
    if booting:
        machine.boot()
    if name in COMMITTED or (name, mark) == ("commit", Mark.DONE):
        assert outcome.outcome == "done"
        machine.wholly(SECOND, previous=FIRST)
    else:
        assert outcome.outcome == "undone"
        machine.wholly(FIRST, previous="")
        assert not machine.layout.release(SECOND).exists()


async def _cut(
    machine: PlayedMachine, kind: str, change: Change, plan: Plan, place: tuple[str, Mark]
) -> None:
    """Do what `run` does up to a line of the journal, without the way back of a living process."""
    begin_operation(machine.layout, kind, change.parameters(), clock=machine.clock)
    journal = Journal.load(machine.layout.journal)
    assert journal is not None
    for step in plan.steps:
        for mark, action in ((Mark.BEGUN, step.do), (Mark.DONE, _nothing)):
            journal.record(step.name, mark)
            if (step.name, mark) == place:
                return
            await action()
    raise AssertionError(place)


async def _nothing() -> None:
    """The line itself is all."""


async def test_a_rollback_goes_back_and_forth(machine: PlayedMachine, tmp_path: Path) -> None:
    await upgrade(machine, tmp_path)
    await roll_back(machine)
    machine.wholly(FIRST, previous="")
    with pytest.raises(UnmetError, match="no release before"):
        await roll_back(machine)
    await upgrade(machine, tmp_path)
    machine.wholly(SECOND, previous=FIRST)


@pytest.mark.parametrize("booting", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("mark", [Mark.BEGUN, Mark.DONE])
@pytest.mark.parametrize("name", STEPS[STEPS.index("bridge") : STEPS.index("keys")])
async def test_a_rollback_cut_off_anywhere_ends_wholly(
    machine: PlayedMachine, name: str, mark: Mark, booting: bool
) -> None:
    machine.put_release(BUNDLE, CHANGED)
    machine.stands_at(SECOND, previous=FIRST)
    change = Change(leaving=SECOND, wanted=FIRST, previous_before=FIRST, previous_after="")
    plan = Rollbacker(machine.tools, machine.origin).plan(change, "")
    await _cut(machine, "rollback", change, plan, (name, mark))
    if booting:
        machine.cut_power()
    outcome = await recovered(machine)
    if booting:
        machine.boot()
    if name in COMMITTED or (name, mark) == ("commit", Mark.DONE):
        assert outcome.outcome == "done"
        machine.wholly(FIRST, previous="")
    else:
        assert outcome.outcome == "undone"
        machine.wholly(SECOND, previous=FIRST)


async def test_a_broken_older_release_is_not_gone_back_to(
    machine: PlayedMachine, tmp_path: Path
) -> None:
    await upgrade(machine, tmp_path)
    machine.broken.add(FIRST)
    with pytest.raises(RolledBackError):
        await roll_back(machine)
    machine.wholly(SECOND, previous=FIRST)


async def test_the_stores_go_back_between_stopping_and_starting(machine: PlayedMachine) -> None:
    """The queue is rewound while no worker runs, and nothing is decided before all is asked."""
    change = Change(leaving=SECOND, wanted=FIRST, previous_before=FIRST, previous_after="")
    plan = Rollbacker(machine.tools, machine.origin).plan(change, "point")
    names = [step.name for step in plan.steps]
    order = ["rebuild", "return", "units", "switch", "quiet", "rewind", "exchange", "wake"]
    assert names == [*order, "health", "commit", "unbridge", "applied", "tidy"]
    assert plan.committed_at() == names.index("commit") + 1


@pytest.mark.parametrize("last", ["quiet", "wake"])
async def test_stores_start_after_a_way_back_at_boot(machine: PlayedMachine, last: str) -> None:
    """Power failed while they were stopped or started; what is undone then takes no turn away."""
    machine.put_release(BUNDLE, CHANGED)
    machine.stands_at(SECOND, previous=FIRST)
    change = Change(leaving=SECOND, wanted=FIRST, previous_before=FIRST, previous_after="")
    steps = Rollbacker(machine.tools, machine.origin).plan(change, "point").steps
    machine.cut_power()
    for step in reversed([step for step in steps if step.name in {"quiet", last}]):
        assert step.undo is not None
        await step.undo()
    machine.boot()
    assert machine.running("pug-postgres.service")
    assert machine.running("pug-clickhouse.service")


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"release": 1}, BundleRefusedError, "SAME_RELEASE"),
        ({"upgrades_from": 2}, BundleRefusedError, "UPGRADE_TOO_FAR"),
        ({"architecture": "riscv64"}, BundleRefusedError, "ARCHITECTURE_WRONG"),
        ({"schema_compatible": {"postgres": 5}}, UnmetError, "UPGRADE_TOO_FAR"),
    ],
)
async def test_what_cannot_be_upgraded_to_is_refused(
    machine: PlayedMachine,
    tmp_path: Path,
    changes: dict[str, object],
    kind: type[UnmetError],
    reason: str,
) -> None:
    with pytest.raises(kind) as caught:
        prepare_upgrade(bundle(tmp_path, **changes), machine.tools)
    assert caught.value.reason == reason
    machine.wholly(FIRST, previous="")


async def test_a_living_operation_is_not_ended_by_another(machine: PlayedMachine) -> None:
    with (
        operation_lock(machine.layout),
        pytest.raises(ConflictError, match="at work"),
        operation_lock(machine.layout),
    ):
        pass
    with operation_lock(machine.layout):
        assert (await recovered(machine)).outcome == "nothing"


async def test_an_install_is_left_to_install(machine: PlayedMachine) -> None:
    Journal.begin(machine.layout.journal, "install", clock=machine.clock)
    assert (await recovered(machine)).outcome == "left"
    assert version_of(machine.layout.current) == FIRST
