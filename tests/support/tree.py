"""A supervised tree of scripted children, for tests of the supervisor.

Invariant: a test never sleeps: it gives an order, reads the answer, and waits for a state with a
deadline. When the block ends no process of it is left.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import SystemClock
from appliance.supervisor.component import ComponentStatus, Transition
from appliance.supervisor.identity import Registry
from appliance.supervisor.output import LogBook
from appliance.supervisor.spec import Descriptor, ProcessSpec
from appliance.supervisor.state import State
from appliance.supervisor.surroundings import Surroundings
from appliance.supervisor.tree import Supervisor
from tests.support.child import ANSWERS_VARIABLE, COMMANDS_VARIABLE

SECONDS_MAX: Final = 60.0
_REPOSITORY: Final = Path(__file__).parents[2]


class Script:
    """The two pipes to a scripted child; they outlive its restarts."""

    def __init__(self) -> None:
        self._orders_read, self._orders = os.pipe2(os.O_CLOEXEC)
        self._answers, self._answers_write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._answers, False)
        self._buffer = b""

    def spec(self, name: str, **changes: object) -> ProcessSpec:
        """A spec whose program is the scripted child on these pipes."""
        base = ProcessSpec(
            name=name,
            argv=(sys.executable, "-m", "tests.support.child"),
            environment={"PYTHONPATH": str(_REPOSITORY)},
            directory=_REPOSITORY,
            descriptors=(
                Descriptor(variable=COMMANDS_VARIABLE, number=self._orders_read),
                Descriptor(variable=ANSWERS_VARIABLE, number=self._answers_write),
            ),
            announces=True,
            own=True,
        )
        return msgspec.structs.replace(base, **changes)

    async def answer(self) -> str:
        """The next line of the child."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS_MAX):
            while b"\n" not in self._buffer:
                readable: asyncio.Future[None] = loop.create_future()
                loop.add_reader(self._answers, lambda it=readable: it.done() or it.set_result(None))
                try:
                    await readable
                finally:
                    loop.remove_reader(self._answers)
                self._buffer += os.read(self._answers, 65536)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def tell(self, *orders: str) -> None:
        """Give orders; the child reads them one after the other."""
        os.write(self._orders, "".join(f"{order}\n" for order in orders).encode())

    async def up(self) -> int:
        """Wait until the child says that it is there; its pid."""
        word, _, pid = (await self.answer()).partition(" ")
        assert word == "up"
        return int(pid)

    def close(self) -> None:
        """Close all ends."""
        for descriptor in (
            self._orders_read,
            self._orders,
            self._answers,
            self._answers_write,
        ):
            os.close(descriptor)


class Tree:
    """A running supervisor and what it said."""

    def __init__(self, folder: Path, specs: tuple[ProcessSpec, ...], **around: object) -> None:
        self.folder = folder
        self.transitions: list[Transition] = []
        self._changed = asyncio.Event()
        self.book = LogBook(folder / "logs", clock=SystemClock())
        surroundings = Surroundings(
            book=self.book,
            registry=Registry(folder / "processes.json"),
            clock=SystemClock(),
            jitter=lambda: 0.0,
            inherited={},
            on_change=self._note,
        )
        self.supervisor = Supervisor(specs, msgspec.structs.replace(surroundings, **around))

    def _note(self, transition: Transition) -> None:
        self.transitions.append(transition)
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that comes with a change of state."""
        async with asyncio.timeout(SECONDS_MAX):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def state(self, name: str, state: State) -> None:
        """Wait until a component is in a state."""
        await self.until(lambda: self.told(name).state is state)

    def told(self, name: str) -> ComponentStatus:
        """What the supervisor says about a component."""
        return next(line for line in self.supervisor.status() if line.name == name)

    def path(self, name: str) -> list[State]:
        """The states a component went through."""
        return [one.after for one in self.transitions if one.name == name]

    def log(self, name: str) -> str:
        """The log file of a component."""
        return (self.folder / "logs" / f"{name}.jsonl").read_text()


@asynccontextmanager
async def running_tree(folder: Path, *specs: ProcessSpec, **around: object) -> AsyncGenerator[Tree]:
    """A supervised tree for the length of a block; it is stopped at once afterwards."""
    tree = Tree(folder, specs, **around)
    async with asyncio.TaskGroup() as group:
        group.create_task(tree.supervisor.run())
        try:
            yield tree
        finally:
            tree.supervisor.stop()
            tree.supervisor.stop()
    tree.book.close()
