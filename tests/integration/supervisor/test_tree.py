"""A tree of real processes that do what they are told."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from appliance.base.errors import MisconfiguredError, NotFoundError, UnavailableError
from appliance.base.tasks import poll
from appliance.supervisor.account import grant_passage, revoke_passage
from appliance.supervisor.backoff import FAILURES_MAX
from appliance.supervisor.identity import facts_of
from appliance.supervisor.spec import Account, Descriptor, Kind, ProcessSpec, StopStep
from appliance.supervisor.state import State
from tests.support.tree import Script, Tree, running_tree

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
PYTHON = sys.executable


@pytest.fixture
def script() -> Generator[Script]:
    """The pipes to one scripted child."""
    made = Script()
    yield made
    made.close()


@pytest.fixture
def other() -> Generator[Script]:
    """The pipes to another scripted child."""
    made = Script()
    yield made
    made.close()


def oneshot(name: str, program: str, **changes: object) -> ProcessSpec:
    """A one-shot that runs a line of Python."""
    return ProcessSpec(name=name, kind=Kind.ONESHOT, argv=(PYTHON, "-c", program), **changes)


def status_of(pid: int) -> str:
    """What the kernel says about a process."""
    return Path(f"/proc/{pid}/status").read_text()


async def gone(pid: int) -> None:
    """Wait until a process that is not our child is gone."""

    async def is_gone() -> bool | None:
        return True if facts_of(pid) is None else None

    assert await poll(is_gone, every_seconds=0.01, timeout_seconds=60)


async def test_ready_is_what_the_child_announces(tmp_path: Path, script: Script) -> None:
    """Being there is not enough."""
    async with running_tree(tmp_path, script.spec("a")) as tree:
        pid = await script.up()
        assert tree.told("a").state is State.STARTING
        assert not tree.supervisor.is_ready()
        script.tell("ready")
        await tree.state("a", State.READY)
        told = tree.told("a")
        assert (told.pid, told.ready, told.restarts) == (pid, True, 0)
        assert told.memory_bytes > 1 << 20
    assert tree.path("a")[-2:] == [State.STOPPING, State.STOPPED]
    assert facts_of(pid) is None


async def test_a_need_is_ready_before_its_dependant_starts(
    tmp_path: Path, script: Script, other: Script
) -> None:
    """And it is stopped after it."""
    specs = (script.spec("first"), other.spec("second", needs=("first",)))
    async with running_tree(tmp_path, *specs) as tree:
        await script.up()
        assert tree.told("second").state is State.WAITING
        script.tell("ready")
        await other.up()
        other.tell("ready")
        await tree.state("second", State.READY)
        tree.supervisor.stop()
        await tree.state("first", State.STOPPED)
    stops = [one.name for one in tree.transitions if one.after is State.STOPPED]
    assert stops == ["second", "first"]


async def test_a_death_is_answered_by_a_start(tmp_path: Path, script: Script) -> None:
    """With the cause in the status until it is ready again, and the number in the log."""
    async with running_tree(tmp_path, script.spec("a")) as tree:
        await script.up()
        script.tell("ready", "say ERROR: out of paper", "say bye", "exit 3")
        await tree.state("a", State.BACKING_OFF)
        assert tree.told("a").cause == "exited 3: out of paper"
        while not (await script.answer()).startswith("up"):
            pass
        script.tell("ready")
        await tree.state("a", State.READY)
        assert tree.told("a").restarts == 1
        assert tree.told("a").cause == ""


async def test_kill_nine_is_named(tmp_path: Path, script: Script) -> None:
    """The signal is the cause."""
    async with running_tree(tmp_path, script.spec("a")) as tree:
        pid = await script.up()
        script.tell("ready")
        await tree.state("a", State.READY)
        os.kill(pid, signal.SIGKILL)
        await tree.state("a", State.BACKING_OFF)
        assert tree.told("a").cause == "killed by SIGKILL"


async def test_a_crash_looping_worker_is_quarantined_and_released(tmp_path: Path) -> None:
    """Others go on; `restart` lets it try again."""
    looping = ProcessSpec(
        name="worker",
        argv=(PYTHON, "-c", "raise SystemExit('no such table')"),
        quarantine=True,
        announces=True,
    )
    tree = Tree(tmp_path, (looping,), jitter=lambda: 1.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(tree.supervisor.run())
        async with asyncio.timeout(60):
            while tree.told("worker").state is not State.QUARANTINED:
                await tree._changed.wait()
                tree._changed.clear()
        assert tree.told("worker").cause == "exited 1: no such table"
        assert tree.path("worker").count(State.STARTING) == FAILURES_MAX
        tree.supervisor.restart("worker")
        await tree.state("worker", State.STARTING)
        tree.supervisor.stop()
    tree.book.close()


async def test_a_child_that_ignores_the_signal_is_killed_with_its_children(
    tmp_path: Path, script: Script
) -> None:
    """The budget ends, the group goes."""
    stop = (StopStep(signal=signal.SIGTERM, budget_seconds=0.2),)
    async with running_tree(tmp_path, script.spec("a", stop=stop)) as tree:
        pid = await script.up()
        script.tell("ignore", "fork", "ready")
        assert await script.answer() == "done ignore"
        grandchild = int((await script.answer()).split()[1])
        await tree.state("a", State.READY)
        tree.supervisor.stop()
        await tree.state("a", State.STOPPED)
        assert facts_of(pid) is None
        await gone(grandchild)


async def test_a_second_stop_does_not_wait(tmp_path: Path, script: Script) -> None:
    """However long the budget is."""
    stop = (StopStep(signal=signal.SIGTERM, budget_seconds=3600),)
    async with running_tree(tmp_path, script.spec("a", stop=stop)) as tree:
        await script.up()
        script.tell("ignore", "ready")
        await tree.state("a", State.READY)
        tree.supervisor.stop()
        await tree.state("a", State.STOPPING)
        tree.supervisor.stop()
        await tree.state("a", State.STOPPED)


async def test_a_child_that_never_gets_ready_is_ended(tmp_path: Path, script: Script) -> None:
    """And tried again."""
    async with running_tree(tmp_path, script.spec("a", ready_seconds_max=3)) as tree:
        pid = await script.up()
        await tree.state("a", State.BACKING_OFF)
        assert tree.told("a").cause == "not ready within 3 s"
        assert facts_of(pid) is None


async def test_a_probe_is_raced_with_the_end_of_the_process(tmp_path: Path) -> None:
    """A dead process is noticed at once, not when the probe's time is over."""

    async def hangs() -> None:
        await asyncio.Event().wait()

    spec = ProcessSpec(name="a", argv=(PYTHON, "-c", "raise SystemExit(4)"), probe=hangs)
    async with running_tree(tmp_path, spec) as tree:
        await tree.state("a", State.BACKING_OFF)
        assert tree.told("a").cause == "exited 4"


async def test_a_oneshot_completes_and_lets_others_start(tmp_path: Path, script: Script) -> None:
    """Exit status 0 is done."""
    specs = (oneshot("migrate", "print('done')"), script.spec("api", needs=("migrate",)))
    async with running_tree(tmp_path, *specs) as tree:
        await script.up()
        assert tree.told("migrate").state is State.COMPLETED
        script.tell("ready")
        async with asyncio.timeout(60):
            await tree.supervisor.all_ready()


async def test_a_failing_oneshot_ends_everything_with_its_cause(
    tmp_path: Path, script: Script
) -> None:
    """The cause travels up."""
    failing = oneshot("migrate", "raise SystemExit('checksum differs')")
    tree = Tree(tmp_path, (failing, script.spec("api", needs=("migrate",))))
    with pytest.raises(UnavailableError, match="migrate exited 1: checksum differs"):
        await tree.supervisor.run()
    assert tree.path("api") == [State.STOPPED]
    tree.book.close()


async def test_a_oneshot_that_meets_a_down_store_is_tried_again(tmp_path: Path) -> None:
    """Exit status 7 says that trying again may help."""
    mark = tmp_path / "mark"
    program = (
        f"import pathlib; p = pathlib.Path({str(mark)!r}); seen = p.exists(); p.touch(); "
        "raise SystemExit(0 if seen else 7)"
    )
    async with running_tree(tmp_path, oneshot("migrate", program)) as tree:
        await tree.state("migrate", State.COMPLETED)
        assert tree.told("migrate").restarts == 1


async def test_a_wrong_setting_ends_the_start_as_itself(tmp_path: Path) -> None:
    """What `prepare` refuses for good is not tried again."""

    async def refuse() -> None:
        raise MisconfiguredError("CLUSTER_VERSION", "data of PostgreSQL 19")

    spec = ProcessSpec(name="postgres", argv=(PYTHON, "-c", ""), prepare=refuse)
    tree = Tree(tmp_path, (spec,))
    with pytest.raises(MisconfiguredError, match="data of PostgreSQL 19"):
        await tree.supervisor.run()
    tree.book.close()


async def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """With the path."""
    spec = ProcessSpec(name="a", argv=("/no/such/program",), announces=True)
    async with running_tree(tmp_path, spec) as tree:
        await tree.state("a", State.BACKING_OFF)
        assert "cannot run /no/such/program" in tree.told("a").cause


async def test_the_start_gives_up_when_asked_to(tmp_path: Path) -> None:
    """For somebody who waits at the terminal."""
    spec = ProcessSpec(name="a", argv=(PYTHON, "-c", "raise SystemExit(1)"), announces=True)
    tree = Tree(tmp_path, (spec,), start_failures_max=2)
    with pytest.raises(UnavailableError, match="a exited 1 after 2 attempts"):
        await tree.supervisor.run()
    tree.book.close()


async def test_a_flood_blocks_nobody_and_is_counted(tmp_path: Path, script: Script) -> None:
    """200,000 lines pass, few are kept, the child is never held up."""
    async with running_tree(tmp_path, script.spec("a")) as tree:
        await script.up()
        script.tell("flood 200000", "ready")
        assert await script.answer() == "done flood"
        await tree.state("a", State.READY)
        tree.supervisor.stop()
        await tree.state("a", State.STOPPED)
        lines = [json.loads(line) for line in tree.log("a").splitlines()]
    dropped = sum(line.get("lines", 0) for line in lines if line["event"] == "log_lines_dropped")
    kept = sum(line["event"].startswith("xxx") for line in lines)
    assert kept + dropped == 200_000
    assert kept < 100_000


async def test_the_environment_is_built_from_nothing(tmp_path: Path, script: Script) -> None:
    """Nothing of ours is in it that was not asked for."""
    async with running_tree(tmp_path, script.spec("a")):
        await script.up()
        script.tell("environment")
        found = set(json.loads(await script.answer()))
    assert found - {"LC_CTYPE"} == {
        "PATH",
        "LANG",
        "LC_ALL",
        "TZ",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "PYTHONUTF8",
        "PUG_READY_FD",
        "CHILD_COMMANDS_FD",
        "CHILD_ANSWERS_FD",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_privileges_are_dropped_for_good(tmp_path: Path, script: Script) -> None:
    """User, group and supplementary groups."""
    account = Account(uid=64900, gid=64901)
    granted = grant_passage(Path(PYTHON), account)
    try:
        spec = script.spec("a", account=account, directory=Path("/"))
        async with running_tree(tmp_path, spec):
            pid = await script.up()
            script.tell("identity")
            told = json.loads(await script.answer())
            status = status_of(pid)
    finally:
        revoke_passage(granted)
    assert (told["uid"], told["groups"], told["cwd"]) == (64900, [], "/")
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status


async def test_an_inherited_socket_outlives_a_restart(tmp_path: Path, script: Script) -> None:
    """Who connects while nobody serves is served by the next process."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        base = script.spec("api")
        spec = script.spec(
            "api",
            descriptors=(
                *base.descriptors,
                Descriptor(variable="PUG_LISTEN_FD", number=door.fileno()),
            ),
        )
        async with running_tree(tmp_path, spec) as tree:
            await script.up()
            script.tell("ready")
            await tree.state("api", State.READY)
            tree.supervisor.restart("api")
            reader, writer = await asyncio.open_connection(*door.getsockname())
            while not (await script.answer()).startswith("up"):
                pass
            script.tell("serve", "ready")
            assert await reader.readline() == b"served\n"
            writer.close()
            await writer.wait_closed()
            await tree.state("api", State.READY)


async def test_a_silent_component_is_shown_and_then_replaced(
    tmp_path: Path, script: Script
) -> None:
    """Not ready while it does not answer; ended and started again when that lasts."""
    answers = True

    async def probe() -> None:
        if not answers:
            raise UnavailableError("SILENT", "nobody answers")

    spec = script.spec("a", probe=probe, watch_seconds=0.02, hang_seconds_max=0.2)
    async with running_tree(tmp_path, spec) as tree:
        first = await script.up()
        script.tell("ready")
        await tree.state("a", State.READY)
        answers = False
        await tree.state("a", State.BACKING_OFF)
        assert tree.told("a").cause == "does not answer any more: nobody answers"
        assert facts_of(first) is None
        answers = True
    assert "component_unresponsive" in tree.log("supervisor")


async def test_an_external_store_is_only_asked(tmp_path: Path, script: Script) -> None:
    """It is ready when it answers, and backs off when it is gone; nothing is started."""
    answers = False

    async def probe() -> None:
        if not answers:
            raise ConnectionRefusedError(111, "Connection refused")

    external = ProcessSpec(
        name="nats", kind=Kind.EXTERNAL, probe=probe, ready_seconds_max=0.2, watch_seconds=0.02
    )
    specs = (external, script.spec("events", needs=("nats",)))
    async with running_tree(tmp_path, *specs) as tree:
        await tree.state("nats", State.BACKING_OFF)
        assert tree.told("nats").cause == "not ready within 0.2 s: Connection refused"
        answers = True
        await tree.state("nats", State.READY)
        assert (tree.told("nats").external, tree.told("nats").pid) == (True, None)
        await script.up()
        answers = False
        await tree.state("nats", State.BACKING_OFF)
        with pytest.raises(NotFoundError, match="one of events"):
            tree.supervisor.restart("nats")
