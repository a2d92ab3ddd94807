"""How fast persons get their names, and how soon the read side shows it.

Run: `.venv/bin/python -m tests.bench.identify [calls]`. Engines and the background worker are real
processes on this machine. The queue is filled first, so the pace is the workers' own; half of the
calls are of persons who were named before, half carry an anonymous id.
"""

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

from appliance.base.clock import SystemClock
from appliance.config.effective import save_effective
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.people.messages import Identification, micros_of
from appliance.storage.migrate import migrate_clickhouse
from appliance.supervisor.identity import ProcessList
from tests.support.engines import running_engines
from tests.support.naming_stage import MINE, NamingStage, naming_stage_at

ROOT = Path(__file__).resolve().parents[2]
CHANCE = random.Random(1)
SAMPLES = 100
PUBLISHERS = 64


def make_call(number: int, calls: int) -> Identification:
    """A call with five traits."""
    return Identification(
        project_id=MINE,
        external_id=f"cust-{CHANCE.randrange(calls // 2)}",
        traits={
            "name": "Ada Example",
            "email": "ada@example.com",
            "plan": CHANCE.choice(("free", "pro")),
            "seats": number % 50,
            "company": {"id": "c1", "name": "Example Ltd."},
        },
        anonymous_id=f"anon-{number}" if number % 2 else "",
        accepted_at=micros_of(SystemClock().now()),
    )


async def fill(stage: NamingStage, calls: list[Identification]) -> float:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for first in range(PUBLISHERS):
            group.create_task(stage.hand_over(calls[first::PUBLISHERS]))
    return time.perf_counter() - began


async def sample(stage: NamingStage) -> list[float]:
    """Seconds from handing a call over until the event store answers with it."""
    found: list[float] = []
    for number in range(SAMPLES):
        call = msgspec.structs.replace(make_call(number, 10), external_id=f"fresh-{number}")
        began = time.perf_counter()
        await stage.hand_over([call])
        while True:
            rows = await stage.stores.clickhouse.rows(
                "SELECT 1 FROM profiles WHERE external_id = {id:String} LIMIT 1",
                {"id": call.external_id},
            )
            if rows:
                break
            await asyncio.sleep(0.002)
        found.append(time.perf_counter() - began)
    return sorted(found)


async def measure(calls: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="pug-bench-identify-"))
    async with running_engines(folder / "pug", ("postgres", "nats", "clickhouse")) as settings:
        endpoints = resolve_endpoints(settings)
        await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)
        async with naming_stage_at(endpoints) as stage:
            filled = await fill(stage, [make_call(number, calls) for number in range(calls)])
            print(f"handed over: {calls} calls, {calls / filled:,.0f}/s")
            worker = start_worker(settings)
            try:
                await report(stage, settings, worker, calls)
            finally:
                worker.terminate()
                worker.wait(timeout=30)


async def report(
    stage: NamingStage, settings: Settings, worker: subprocess.Popen[bytes], calls: int
) -> None:
    while not await stage.shown_count():
        await asyncio.sleep(0.01)
    engines = engine_processes(settings)
    before = cpu_seconds([worker.pid, *engines.values()])
    began = time.perf_counter()
    already = await stage.shown_count()
    await stage.until_idle()
    took = time.perf_counter() - began
    after = cpu_seconds([worker.pid, *engines.values()])
    print(f"named: {calls / took:,.0f} calls/s ({already} rows were there when the clock started)")
    for name, pid in {"worker": worker.pid, **engines}.items():
        print(f"  {name}: {after[pid] - before[pid]:.1f} s of processor in {took:.1f} s")
    seconds = await sample(stage)
    print(
        f"shown after: p50 {statistics.median(seconds) * 1000:.0f} ms, "
        f"p99 {seconds[int(len(seconds) * 0.99) - 1] * 1000:.0f} ms"
    )


def start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    output = (settings.data_dir / "worker.out").open("ab")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "appliance", "worker", "background"),
            *("--config", str(save_effective(settings))),
        ],
        cwd=ROOT,
        stdout=output,
        stderr=output,
    )


def engine_processes(settings: Settings) -> dict[str, int]:
    content = (settings.data_dir / "run" / "processes.json").read_bytes()
    found = msgspec.json.decode(content, type=ProcessList).processes
    return {one.name: one.pid for one in found}


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    """Processor time of each process and its children."""
    found: dict[int, float] = {}
    for pid in pids:
        process = psutil.Process(pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        found[pid] = sum(one.user + one.system for one in times)
    return found


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
