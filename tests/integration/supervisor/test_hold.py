"""A component that is kept from running for a while."""

from collections.abc import Generator
from pathlib import Path

import pytest

from appliance.base.errors import ConflictError, NotFoundError
from appliance.supervisor.state import State
from tests.support.tree import Script, Tree, running_tree

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
def script() -> Generator[Script]:
    """The pipes to one scripted child."""
    made = Script()
    yield made
    made.close()


async def ready(script: Script) -> int:
    """Let the child become ready; its pid."""
    word, _, pid = (await script.answer()).partition(" ")
    while word != "up":  # what the one before said at its end
        word, _, pid = (await script.answer()).partition(" ")
    script.tell("ready")
    return int(pid)


async def has_rested(tree: Tree) -> None:
    """Wait until the component is at rest, or was: a short hold may be over by then."""
    await tree.until(lambda: State.WAITING in tree.path("a"))


async def test_a_hold_stops_and_a_release_starts(tmp_path: Path, script: Script) -> None:
    """The process is gone meanwhile, and only the holder can end it."""
    async with running_tree(tmp_path, script.spec("a")) as tree:
        before = await ready(script)
        await tree.state("a", State.READY)
        tree.supervisor.hold("a", holder="backup", seconds=60)
        await tree.state("a", State.WAITING)
        told = tree.told("a")
        assert (told.pid, told.held, told.ready) == (None, True, False)
        with pytest.raises(ConflictError):
            tree.supervisor.hold("a", holder="other", seconds=60)
        with pytest.raises(NotFoundError):
            tree.supervisor.release("a", holder="other")
        tree.supervisor.release("a", holder="backup")
        assert await ready(script) != before
        await tree.state("a", State.READY)
        assert not tree.told("a").held


async def test_a_hold_ends_by_itself(tmp_path: Path, script: Script) -> None:
    """Whoever asked for it may have been killed; a release afterwards says that it is over."""
    async with running_tree(tmp_path, script.spec("a")) as tree:
        await ready(script)
        await tree.state("a", State.READY)
        tree.supervisor.hold("a", holder="backup", seconds=0.2)
        await has_rested(tree)
        await ready(script)
        await tree.state("a", State.READY)
        with pytest.raises(NotFoundError, match="not held any more"):
            tree.supervisor.release("a", holder="backup")


async def test_a_hold_can_be_made_longer(tmp_path: Path, script: Script) -> None:
    """Then the first time limit does not count."""
    async with running_tree(tmp_path, script.spec("a")) as tree:
        await ready(script)
        await tree.state("a", State.READY)
        tree.supervisor.hold("a", holder="backup", seconds=0.1)
        tree.supervisor.hold("a", holder="backup", seconds=0.4)
        await has_rested(tree)
        await ready(script)
        await tree.state("a", State.READY)
        held, started = (
            next(one for one in reversed(tree.transitions) if one.after is state)
            for state in (State.WAITING, State.STARTING)
        )
        assert held.name == "a"
        assert held.seconds + started.seconds > 0.2, "its end and its rest"


async def test_what_is_held_can_be_stopped(tmp_path: Path, script: Script) -> None:
    """The end of the whole tree does not wait for the holder."""
    async with running_tree(tmp_path, script.spec("a")) as tree:
        await ready(script)
        await tree.state("a", State.READY)
        tree.supervisor.hold("a", holder="backup", seconds=60)
        await tree.state("a", State.WAITING)
    assert tree.path("a")[-1] is State.STOPPED


async def test_nobody_else_can_be_held(tmp_path: Path, script: Script) -> None:
    """A name that is no service is refused."""
    async with running_tree(tmp_path, script.spec("a")) as tree:
        with pytest.raises(NotFoundError):
            tree.supervisor.hold("b", holder="backup", seconds=1)
        await script.up()
