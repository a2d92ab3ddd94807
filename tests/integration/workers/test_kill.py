"""`kill -9` of worker, engine and queue in the middle of traffic: nothing lost, nothing twice."""

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
from appliance.config.effective import save_effective
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.migrate import migrate_clickhouse, migrate_nats
from appliance.supervisor.identity import ProcessList
from tests.support.engines import running_engines
from tests.support.pipeline import Counts, Stage, encode, make_events

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).parents[3]
BATCHES = 200
BATCH_EVENTS = 20
KILLS = 6
SEEDS = [int(seed) for seed in os.environ.get("TEST_SEEDS", "1").split(",")]


@contextmanager
def worker_process(settings: Settings) -> Generator[subprocess.Popen[bytes]]:
    """The events worker as the supervisor starts it."""
    with (settings.data_dir / "worker.out").open("ab") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "appliance", "worker", "events"),
                *("--config", str(save_effective(settings))),
            ],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def engine_pid(settings: Settings, name: str) -> int | None:
    content = (settings.data_dir / "run" / "processes.json").read_bytes()
    found = msgspec.json.decode(content, type=ProcessList).processes
    return next((one.pid for one in found if one.name == name), None)


async def publish_all(stage: Stage, batches: list[bytes], done: list[int]) -> None:
    """Publish like a client: again and again until it is acknowledged."""
    for number, batch in enumerate(batches):
        while True:
            try:
                await stage.publish(batch, message_id=f"b{number}")
            except ApplianceError:
                await asyncio.sleep(0.05)
            else:
                break
        done.append(number)
        await asyncio.sleep(0.03)


@pytest.mark.parametrize("victim", ["worker", "clickhouse", "nats"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_kill(tmp_path: Path, victim: str, seed: int) -> None:
    """Every acknowledged event is once in every table, however often `victim` is killed."""
    chance = random.Random(seed)
    events = [make_events(BATCH_EVENTS, seed=number, months=2) for number in range(BATCHES)]
    async with running_engines(tmp_path / "pug", ("nats", "clickhouse")) as settings:
        endpoints = resolve_endpoints(settings)
        await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)
        await migrate_nats(endpoints.nats, settings.nats.retention, lambda _name: None)
        stage = Stage(endpoints)
        try:
            await kill_while_publishing(stage, settings, victim, chance, [*map(encode, events)])
        finally:
            await stage.close()


async def kill_while_publishing(
    stage: Stage, settings: Settings, victim: str, chance: random.Random, batches: list[bytes]
) -> None:
    done: list[int] = []
    kills = 0
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(publish_all(stage, batches, done))
        while not publishing.done():
            with worker_process(settings) as worker:
                lifetime = chance.uniform(0.8, 2.5)
                await asyncio.wait({publishing}, timeout=lifetime)
                if kills < KILLS:
                    pid = worker.pid if victim == "worker" else engine_pid(settings, victim)
                    if pid is not None:
                        os.kill(pid, signal.SIGKILL)
                        kills += 1
                if victim != "worker":
                    await asyncio.wait({publishing}, timeout=chance.uniform(0.5, 1.5))
                worker.kill()
    assert kills >= 2
    with worker_process(settings):
        await stage.expect(Counts.of(BATCH_EVENTS * BATCHES))
    assert [letter async for letter in stage.dead_letters.summaries("events")] == []
