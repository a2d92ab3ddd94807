"""Who a pid is, so that a number is never mistaken for a process.

Invariant: a process is its pid, its start time and the boot it lives in; a signal goes through a
pidfd opened before that identity was checked. What a crashed supervisor left behind is found in
`run/processes.json` and ended before anything is started on the same directories.
"""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import MisconfiguredError
from appliance.base.files import write_atomic

_PROC: Final = Path("/proc")
_START_TIME_FIELD: Final = 19
_SESSION_FIELD: Final = 3
_PARENT_FIELD: Final = 1
_ZOMBIE: Final = "Z"


class ProcessIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """One process of one boot; `session` is that of its descendants too."""

    name: str
    pid: int
    start_ticks: int
    stop_signal: int
    data_directory: str = ""


class ProcessList(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `processes.json`."""

    boot_id: str
    processes: tuple[ProcessIdentity, ...]


class ProcessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel says about a living process."""

    pid: int
    parent: int
    session: int
    start_ticks: int


def boot_id() -> str:
    """The identity of this boot of the machine; empty where a unit may not see it.

    There systemd itself ends everything of an earlier run.
    """
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def facts_of(pid: int) -> ProcessFacts | None:
    """The facts of a living process, or None; a zombie is not living."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, so fields are counted from its end.
    fields = text.rpartition(")")[2].split()
    if not fields or fields[0] == _ZOMBIE:
        return None
    return ProcessFacts(
        pid=pid,
        parent=int(fields[_PARENT_FIELD]),
        session=int(fields[_SESSION_FIELD]),
        start_ticks=int(fields[_START_TIME_FIELD]),
    )


def living_processes() -> tuple[ProcessFacts, ...]:
    """The facts of every living process that can be seen."""
    found = (facts_of(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return tuple(facts for facts in found if facts is not None)


def descendants(pid: int, processes: tuple[ProcessFacts, ...]) -> tuple[int, ...]:
    """`pid` and every process below it."""
    children: dict[int, list[int]] = {}
    for facts in processes:
        children.setdefault(facts.parent, []).append(facts.pid)
    found: list[int] = []
    frontier = [pid]
    while frontier:
        current = frontier.pop()
        found.append(current)
        frontier.extend(children.get(current, ()))
    return tuple(found)


def memory_bytes(pid: int) -> int:
    """The proportional memory of one process; resident memory when that is hidden; 0 when gone."""
    with suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    with suppress(OSError, ValueError, IndexError):
        pages = int((_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGESIZE")
    return 0


def squatters(directory: Path, argv: tuple[str, ...]) -> tuple[ProcessFacts, ...]:
    """Living processes of this program that work in `directory`.

    Somebody's shell in that folder is none: the program must be the same, and either its arguments
    too or its title must begin with the program's name, as that of a PostgreSQL backend does.
    """
    wanted = Path(os.path.realpath(directory))
    program = Path(os.path.realpath(argv[0]))
    found: list[ProcessFacts] = []
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            if (entry / "cwd").readlink() != wanted or (entry / "exe").readlink() != program:
                continue
            words = (entry / "cmdline").read_bytes().split(b"\0")
            arguments = tuple(word.decode("utf-8", "replace") for word in words if word)
            titled = arguments[:1] and arguments[0].startswith(f"{program.name}:")
            if titled or arguments[1:] == argv[1:]:
                facts = facts_of(int(entry.name))
                found += [facts] if facts is not None else []
    return tuple(found)


async def end_squatters(
    directory: Path, argv: tuple[str, ...], *, stop_signal: int, budget_seconds: float
) -> tuple[int, ...]:
    """End what an earlier supervisor left in an engine's folder, so that none has two engines."""
    return tuple(
        [
            facts.pid
            for facts in squatters(directory, argv)
            if await end_process(facts, stop_signal=stop_signal, budget_seconds=budget_seconds)
        ]
    )


class Handle:
    """A pidfd: the same process for as long as it is held, whatever happens to the number."""

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError when there is no such process."""
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def send(self, number: int) -> None:
        """Send a signal; a process that is gone needs none."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    async def ended(self, timeout_seconds: float) -> bool:
        """Wait for the end of the process; False when it still lives after that time."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._descriptor, lambda: end.done() or end.set_result(None))
        try:
            async with asyncio.timeout(timeout_seconds):
                await end
        except TimeoutError:
            return False
        else:
            return True
        finally:
            loop.remove_reader(self._descriptor)

    def close(self) -> None:
        """Let go of the process."""
        os.close(self._descriptor)


class Registry:
    """The list of our processes on disk, for whoever starts after a crash."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boot_id = boot_id()
        self._processes: dict[int, ProcessIdentity] = {}

    def add(self, identity: ProcessIdentity) -> None:
        """A process was started."""
        self._processes[identity.pid] = identity
        self._save()

    def remove(self, pid: int) -> None:
        """A process was reaped."""
        if self._processes.pop(pid, None) is not None:
            self._save()

    def _save(self) -> None:
        content = ProcessList(boot_id=self._boot_id, processes=tuple(self._processes.values()))
        # A full disk must not keep a component from starting again; squatters are looked for too.
        with suppress(MisconfiguredError):
            write_atomic(self._path, msgspec.json.encode(content))

    def leftovers(self) -> tuple[ProcessIdentity, ...]:
        """What an earlier supervisor of this boot wrote down and did not take away."""
        try:
            listed = msgspec.json.decode(self._path.read_bytes(), type=ProcessList)
        except (OSError, msgspec.DecodeError):
            return ()
        return listed.processes if listed.boot_id == self._boot_id else ()


async def end_leftovers(
    leftovers: tuple[ProcessIdentity, ...], *, budget_seconds: float
) -> tuple[int, ...]:
    """End what is left of earlier processes and their sessions; the pids that were ended."""
    ended: list[int] = []
    for leftover in leftovers:
        for facts in living_processes():
            same = facts.pid == leftover.pid and facts.start_ticks == leftover.start_ticks
            # A session keeps its number busy while it has members, so this cannot be a stranger's.
            member = facts.session == leftover.pid and facts.start_ticks >= leftover.start_ticks
            if (same or member) and await end_process(
                facts, stop_signal=leftover.stop_signal, budget_seconds=budget_seconds
            ):
                ended.append(facts.pid)
    return tuple(ended)


async def end_process(facts: ProcessFacts, *, stop_signal: int, budget_seconds: float) -> bool:
    """End one process that is not our child: the polite signal, then the sure one."""
    try:
        handle = Handle(facts.pid)
    except ProcessLookupError:
        return False
    try:
        now = facts_of(facts.pid)
        if now is None or now.start_ticks != facts.start_ticks:
            return False
        handle.send(stop_signal)
        if not await handle.ended(budget_seconds):
            handle.send(signal.SIGKILL)
            await handle.ended(budget_seconds)
        return True
    finally:
        handle.close()
