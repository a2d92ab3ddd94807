"""Going back to a restore point, with every event acknowledged since."""

import asyncio
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from appliance.base.clock import SystemClock
from appliance.base.errors import UnmetError
from appliance.config.model import Settings
from appliance.lifecycle.backup.create import Origin
from appliance.lifecycle.backup.engines import engines_running
from appliance.lifecycle.backup.points import (
    PointSteps,
    check_replay,
    create_restore_point,
    list_restore_points,
    points_folder,
)
from appliance.lifecycle.progress import SilentProgress
from tests.integration.lifecycle.backup.support import posting
from tests.support.engines import engine_settings
from tests.support.stack import Stack, make_event, running_stack

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]


def origin_of(settings: Settings) -> Origin:
    """The installation in a data directory."""
    return Origin(settings=settings, config_file=None, inherited=dict(os.environ))


def settings_of(data_dir: Path) -> Settings:
    """Settings with free ports, as the stack's engines have them."""
    return engine_settings(data_dir)


async def go_back(settings: Settings, name: str, *, rewinding: bool) -> None:
    """What a rollback does with a stopped appliance."""
    steps = PointSteps(origin_of(settings), name, progress=SilentProgress())
    await steps.rebuild.do()
    async with engines_running(settings, inherited=dict(os.environ), names=("nats",)):
        await check_replay(settings, name)
        if rewinding:
            await steps.rewind.do()
            await steps.rewind.do()
    await steps.exchange.do()
    await steps.tidy.do()


def history(stack: Stack) -> tuple[str, int]:
    """Events, a restore point among them, more events; its name and how many in all."""
    settings = settings_of(stack.data_dir)
    stack.post([make_event("kept") for _ in range(20)])
    with posting(stack, "kept") as work:
        point = asyncio.run(
            create_restore_point(
                origin_of(settings), reason="test", clock=SystemClock(), progress=SilentProgress()
            )
        )
    assert work.refused == 0
    total = 20 + work.acknowledged
    stack.trend_reaches("kept", total)
    assert [one.id for one in list_restore_points(settings)] == [point.id]
    return point.id, total


def test_every_event_since_is_stored_once(tmp_path: Path) -> None:
    """In the raw table and in the roll-ups; the restore point can be used again."""
    data_dir = tmp_path / "data"
    with running_stack(data_dir) as stack:
        name, total = history(stack)
    settings = settings_of(data_dir)
    for _ in range(2):
        asyncio.run(go_back(settings, name, rewinding=True))
        with running_stack(data_dir) as stack:
            stack.trend_reaches("kept", total)
            stack.trend_reaches("kept", total, raw=True)
            stack.trend_reaches("kept", total)


def test_without_the_rewind_events_are_lost(tmp_path: Path) -> None:
    """The control arm: the stores of then with the record of now."""
    data_dir = tmp_path / "data"
    with running_stack(data_dir) as stack:
        name, total = history(stack)
    asyncio.run(go_back(settings_of(data_dir), name, rewinding=False))
    with running_stack(data_dir) as stack:
        stack.post([make_event("after")])
        stack.trend_reaches("after", 1)
        assert stack.trend("kept") < total


def test_a_queue_without_the_events_is_refused(tmp_path: Path) -> None:
    """Going back would lose them; the live data has them."""
    data_dir = tmp_path / "data"
    with running_stack(data_dir) as stack:
        name, _ = history(stack)
    settings = settings_of(data_dir)
    point = points_folder(settings) / name / "point.json"
    told = msgspec.json.decode(point.read_bytes())
    ledger = msgspec.json.decode(told["ledger"])
    told["ledger"] = msgspec.json.encode(ledger | {"done": -5}).decode()
    point.write_bytes(msgspec.json.encode(told))
    with pytest.raises(UnmetError, match="5 messages"):
        asyncio.run(go_back(settings, name, rewinding=True))
    shutil.rmtree(settings.data_dir / "restoring")
