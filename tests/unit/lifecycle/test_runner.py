"""Steps, journal and runner: every cut-off operation ends wholly before or wholly after."""

from pathlib import Path

import pytest

from appliance.base.errors import ConflictError, UnavailableError
from appliance.lifecycle.journal import Journal, Mark, Outcome
from appliance.lifecycle.progress import SilentProgress
from appliance.lifecycle.runner import Drill, RolledBackError, Runner, no_drill
from appliance.lifecycle.steps import Plan, Step
from tests.support.clocks import FixedClock

pytestmark = pytest.mark.anyio
NAMES = ("stage", "migrate", "switch", "tidy")


class PowerCutError(BaseException):
    """The process is gone."""


def plan_on(state: dict[str, bool], *, commit: str = "switch", failing: str = "") -> Plan:
    def step(name: str) -> Step:
        async def do() -> None:
            if name == failing:
                raise UnavailableError("BROKEN", f"{name} is broken")
            state[name] = True

        async def undo() -> None:
            state[name] = False

        return Step(name=name, title=f"doing {name}", do=do, undo=undo)

    return Plan(kind="upgrade", steps=tuple(map(step, NAMES)), commit=commit)


def runner(folder: Path, *, drill: Drill = no_drill) -> Runner:
    clock = FixedClock()
    journal = Journal.load(folder) or Journal.begin(folder, "upgrade", clock=clock)
    return Runner(journal=journal, progress=SilentProgress(), clock=clock, drill=drill)


def closed_journals(folder: Path) -> int:
    return len(list(folder.glob("*-upgrade-done.jsonl")))


async def test_all_steps_are_done_and_the_journal_is_closed(tmp_path: Path) -> None:
    state: dict[str, bool] = {}
    await runner(tmp_path).run(plan_on(state))
    assert state == dict.fromkeys(NAMES, True)
    assert Journal.load(tmp_path) is None
    assert closed_journals(tmp_path) == 1


async def test_a_failure_before_the_commit_is_undone(tmp_path: Path) -> None:
    state: dict[str, bool] = {}
    with pytest.raises(RolledBackError, match="migrate is broken") as caught:
        await runner(tmp_path).run(plan_on(state, failing="migrate"))
    assert caught.value.exit_status == 6
    assert not any(state.values())
    assert Journal.load(tmp_path) is None


async def test_a_failure_after_the_commit_stays_open_and_goes_forward(tmp_path: Path) -> None:
    state: dict[str, bool] = {}
    with pytest.raises(UnavailableError):
        await runner(tmp_path).run(plan_on(state, failing="tidy"))
    assert Journal.load(tmp_path) is not None
    assert await runner(tmp_path).resume(plan_on(state)) is Outcome.DONE
    assert state == dict.fromkeys(NAMES, True)


@pytest.mark.parametrize("mark", [Mark.BEGUN, Mark.DONE])
@pytest.mark.parametrize("name", NAMES)
async def test_a_power_cut_anywhere_ends_wholly_before_or_after(
    tmp_path: Path, name: str, mark: Mark
) -> None:
    """The drill stands for `kill -9`: nothing of the runner runs after it."""
    state: dict[str, bool] = {}

    def cut(step: str, happened: Mark) -> None:
        if (step, happened) == (name, mark):
            raise PowerCutError

    cut_off = runner(tmp_path, drill=cut)
    journal = cut_off.journal
    with pytest.raises(PowerCutError):
        await _without_cleanup(cut_off, plan_on(state))
    assert journal.operation.kind == "upgrade"
    outcome = await runner(tmp_path).resume(plan_on(state))
    committed = (name, mark) >= ("switch", Mark.DONE) if name == "switch" else name == "tidy"
    assert outcome is (Outcome.DONE if committed else Outcome.UNDONE)
    assert set(state.values()) <= {committed}
    assert Journal.load(tmp_path) is None


async def _without_cleanup(cut_off: Runner, plan: Plan) -> None:
    """Do what `run` does, without the way back that a dead process cannot take."""
    for step in plan.steps:
        await cut_off._do(step)


async def test_a_way_back_that_was_begun_is_finished(tmp_path: Path) -> None:
    state = dict.fromkeys(NAMES[:2], True)
    first = runner(tmp_path)
    for name in NAMES[:2]:
        first.journal.record(name, Mark.BEGUN)
        first.journal.record(name, Mark.DONE)
    first.journal.record("migrate", Mark.UNDOING)
    assert await runner(tmp_path).resume(plan_on(state)) is Outcome.UNDONE
    assert state == dict.fromkeys(NAMES[:2], False)


async def test_a_torn_last_line_does_not_count(tmp_path: Path) -> None:
    first = runner(tmp_path)
    first.journal.record("stage", Mark.BEGUN)
    with (tmp_path / "open.jsonl").open("ab") as file:
        file.write(b'{"step":"st')
    again = Journal.load(tmp_path)
    assert again is not None
    assert again.has("stage", Mark.BEGUN)
    again.record("stage", Mark.DONE)
    once_more = Journal.load(tmp_path)
    assert once_more is not None
    assert once_more.has("stage", Mark.DONE)


async def test_two_operations_exclude_each_other(tmp_path: Path) -> None:
    runner(tmp_path)
    with pytest.raises(ConflictError, match="recover"):
        Journal.begin(tmp_path, "install", clock=FixedClock())


async def test_a_plan_without_commit_only_goes_forward(tmp_path: Path) -> None:
    state: dict[str, bool] = {}
    with pytest.raises(UnavailableError):
        await runner(tmp_path).run(plan_on(state, commit="", failing="switch"))
    assert state == {"stage": True, "migrate": True}
    assert await runner(tmp_path).resume(plan_on(state, commit="")) is Outcome.DONE
    assert state == dict.fromkeys(NAMES, True)
