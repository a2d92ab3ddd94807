"""What remains of a supervisor that was killed, and what never does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from appliance.base.tasks import poll
from appliance.supervisor.identity import (
    Handle,
    ProcessIdentity,
    ProcessList,
    Registry,
    boot_id,
    descendants,
    end_leftovers,
    end_squatters,
    facts_of,
    living_processes,
    memory_bytes,
    squatters,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
WAIT_SECONDS_MAX = 30
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


def start(program: str = SLEEPER, *, cwd: Path | None = None) -> "subprocess.Popen[bytes]":
    """A process in a session of its own that has printed its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=cwd,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def run_supervisor(program: str) -> tuple["subprocess.Popen[bytes]", bytes]:
    """A supervisor in a process of its own, and the first line it printed."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    process.stdout.close()
    return process, line


def identity(process: "subprocess.Popen[bytes]", **changes: object) -> ProcessIdentity:
    """What a supervisor would have written down about a process."""
    facts = facts_of(process.pid)
    assert facts is not None
    known = ProcessIdentity(
        name="x", pid=process.pid, start_ticks=facts.start_ticks, stop_signal=signal.SIGTERM
    )
    return msgspec.structs.replace(known, **changes)


async def test_a_recorded_process_is_ended() -> None:
    """Politely, and its status shows the signal."""
    process = start()
    assert await end_leftovers((identity(process),), budget_seconds=WAIT_SECONDS_MAX) == (
        process.pid,
    )
    assert process.wait(WAIT_SECONDS_MAX) == -signal.SIGTERM


async def test_another_process_with_the_same_number_is_left_alone() -> None:
    """Control arm: a pid alone is no identity."""
    process = start()
    stranger = identity(process, start_ticks=1)
    stranger = msgspec.structs.replace(stranger, start_ticks=identity(process).start_ticks + 1)
    assert await end_leftovers((stranger,), budget_seconds=1) == ()
    assert process.poll() is None
    process.kill()
    process.wait(WAIT_SECONDS_MAX)


async def test_what_outlives_its_leader_is_ended_by_its_session() -> None:
    """A forked worker whose parent was killed."""
    program = "import os, time\nif os.fork() == 0:\n    print('up', flush=True)\ntime.sleep(600)"
    process = start(program)
    known = identity(process)
    process.kill()
    process.wait(WAIT_SECONDS_MAX)
    ended = await end_leftovers((known,), budget_seconds=WAIT_SECONDS_MAX)
    assert len(ended) == 1
    assert ended[0] != process.pid
    assert facts_of(ended[0]) is None


async def test_a_stubborn_leftover_is_killed() -> None:
    """When the polite signal is ignored."""
    program = "import signal; signal.signal(15, signal.SIG_IGN); " + SLEEPER
    process = start(program)
    await end_leftovers((identity(process),), budget_seconds=0.2)
    assert process.wait(WAIT_SECONDS_MAX) == -signal.SIGKILL


async def test_a_squatter_is_the_same_program_in_the_same_folder(tmp_path: Path) -> None:
    """A shell of the operator in that folder, or the same program elsewhere, is none."""
    argv = (sys.executable, "-c", SLEEPER)
    squatter = start(cwd=tmp_path)
    elsewhere = start(cwd=Path("/"))
    reader = start(SLEEPER + " ", cwd=tmp_path)
    assert [one.pid for one in squatters(tmp_path, argv)] == [squatter.pid]
    ended = await end_squatters(
        tmp_path, argv, stop_signal=signal.SIGINT, budget_seconds=WAIT_SECONDS_MAX
    )
    assert ended == (squatter.pid,)
    for process in (squatter, elsewhere, reader):
        process.kill()
        process.wait(WAIT_SECONDS_MAX)


def test_the_list_of_another_boot_is_void(tmp_path: Path) -> None:
    """Its numbers belong to somebody else now."""
    path = tmp_path / "processes.json"
    registry = Registry(path)
    process = ProcessIdentity(name="x", pid=os.getpid(), start_ticks=1, stop_signal=15)
    registry.add(process)
    assert Registry(path).leftovers() == (process,)
    listed = ProcessList(boot_id="another", processes=(process,))
    path.write_bytes(msgspec.json.encode(listed))
    assert Registry(path).leftovers() == ()
    path.write_text("{")
    assert Registry(path).leftovers() == ()
    registry.remove(process.pid)
    assert Registry(path).leftovers() == ()


def test_a_full_disk_does_not_stop_the_registry(tmp_path: Path) -> None:
    """A component must be able to start again; here the folder is gone."""
    registry = Registry(tmp_path / "no" / "processes.json")
    registry.add(ProcessIdentity(name="x", pid=1, start_ticks=1, stop_signal=15))
    assert registry.leftovers() == ()


def test_facts_of_this_process() -> None:
    """Its parent, its boot, its memory."""
    facts = facts_of(os.getpid())
    assert facts is not None
    assert facts.parent == os.getppid()
    assert os.getpid() in descendants(os.getppid(), living_processes())
    assert memory_bytes(os.getpid()) > 1 << 20
    assert memory_bytes(2**22 - 1) == 0
    assert len(boot_id()) == 36


async def test_a_handle_does_not_follow_the_number() -> None:
    """A signal to a process that is gone reaches nobody."""
    process = start()
    handle = Handle(process.pid)
    process.kill()
    assert await handle.ended(WAIT_SECONDS_MAX)
    process.wait(WAIT_SECONDS_MAX)
    handle.send(signal.SIGTERM)
    handle.close()
    with pytest.raises(ProcessLookupError):
        Handle(process.pid)


async def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    """The kernel ends them, without any help of ours."""
    program = f"""
import asyncio, os, sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from pathlib import Path
from tests.support.tree import Tree
from appliance.supervisor.spec import ProcessSpec
async def main():
    spec = ProcessSpec(name="a", argv=(sys.executable, "-c", {SLEEPER!r}))
    tree = Tree(Path({str(tmp_path)!r}), (spec,))
    asyncio.get_running_loop().create_task(tree.supervisor.run())
    await tree.supervisor.all_ready()
    print(tree.told("a").pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    supervisor, line = run_supervisor(program)
    pid = int(line)
    assert facts_of(pid) is not None
    supervisor.kill()
    supervisor.wait(WAIT_SECONDS_MAX)

    async def gone() -> bool | None:
        return True if facts_of(pid) is None else None

    assert await poll(gone, every_seconds=0.01, timeout_seconds=WAIT_SECONDS_MAX)
