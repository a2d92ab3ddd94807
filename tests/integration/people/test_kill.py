"""`kill -9` of the worker process and of each engine while persons are named: the same end."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from appliance.base.errors import ApplianceError
from appliance.base.tasks import poll
from appliance.config.effective import save_effective
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.migrate import migrate_clickhouse
from appliance.storage.streams.deadletters import DeadLetters
from appliance.supervisor.identity import ProcessList
from tests.integration.people.test_order import both_sides, mixed
from tests.support.engines import running_engines
from tests.support.naming_oracle import Outcome, carry_out, make_calls
from tests.support.naming_stage import MINE, NamingStage, naming_stage_at

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).parents[3]
CALLS = 400
PAUSE_SECONDS = 0.02
KILLS = 4
DEVICES = ("d0", "d1", "d2")
WAIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def worker_processes(settings: Settings) -> Generator[list[subprocess.Popen[bytes]]]:
    """The three workers as the contract's commands start them."""
    config = str(save_effective(settings))
    processes: list[subprocess.Popen[bytes]] = []
    with (settings.data_dir / "worker.out").open("ab") as output:
        for kind in ("identify", "alias", "upsert"):
            words = (sys.executable, "-m", "appliance", "worker", "profile", kind)
            process = subprocess.Popen(
                [*words, "--config", config], cwd=ROOT, stdout=output, stderr=output
            )
            processes.append(process)
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def engine_pid(settings: Settings, name: str) -> int | None:
    content = (settings.data_dir / "run" / "processes.json").read_bytes()
    found = msgspec.json.decode(content, type=ProcessList).processes
    return next((one.pid for one in found if one.name == name), None)


async def name_slowly(stage: NamingStage, seed: int) -> Outcome:
    """Hand calls over in disorder, a few at a time; what they must come to."""
    for device in DEVICES:
        await stage.add_device(device)
    calls = make_calls(CALLS, seed=seed, project=MINE)
    sent = mixed(calls, seed)
    for call in sent:
        await stage.hand_over([call])
        await asyncio.sleep(PAUSE_SECONDS)
    return carry_out(calls, DEVICES)


@pytest.mark.parametrize("victim", ["worker", "postgres", "clickhouse", "nats"])
async def test_kill(tmp_path: Path, victim: str) -> None:
    """However often `victim` is killed, every call counts, and in the order of their times."""
    chance = random.Random(victim)
    names = ("postgres", "nats", "clickhouse")
    async with running_engines(tmp_path / "pug", names) as settings:
        endpoints = resolve_endpoints(settings)
        await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)
        async with naming_stage_at(endpoints) as stage:
            wanted = await kill_while_naming(stage, settings, victim, chance)

            async def settled() -> bool | None:
                try:
                    return await both_sides(stage) == (wanted, wanted) or None
                except (ApplianceError, KeyError):
                    return None  # an engine on its way back, or an alias before its profile

            with worker_processes(settings):
                await poll(settled, every_seconds=0.5, timeout_seconds=WAIT_SECONDS)
                assert await both_sides(stage) == (wanted, wanted)
            dead = DeadLetters(stage.stores.streams).summaries("profiles")
            assert [letter async for letter in dead] == []


async def kill_while_naming(
    stage: NamingStage, settings: Settings, victim: str, chance: random.Random
) -> Outcome:
    kills = 0
    async with asyncio.TaskGroup() as group:
        naming = group.create_task(name_slowly(stage, seed=1))
        while not naming.done():
            with worker_processes(settings) as workers:
                await asyncio.wait({naming}, timeout=chance.uniform(1.5, 3.0))
                if kills < KILLS:
                    targets = (
                        [worker.pid for worker in workers]
                        if victim == "worker"
                        else [engine_pid(settings, victim)]
                    )
                    for pid in targets:
                        if pid is not None:
                            os.kill(pid, signal.SIGKILL)
                    kills += 1
                if victim != "worker":
                    await asyncio.wait({naming}, timeout=chance.uniform(1.0, 2.0))
    assert kills >= 2
    return naming.result()
