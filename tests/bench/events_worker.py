"""How fast the events worker moves events from the queue into raw table and roll-ups.

Run: `.venv/bin/python -m tests.bench.events_worker [events] [rows a block]`. Engines and worker are
real processes on this machine; the queue is filled first, so the figure is the worker's own pace,
with everything that an event costs after its acknowledgement.
"""

import asyncio
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil

from appliance.config.effective import save_effective
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.migrate import migrate_clickhouse, migrate_nats
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.publish import EVENTS_SUBJECT, Publisher
from appliance.supervisor.identity import ProcessList
from tests.support.engines import running_engines

ROOT = Path(__file__).resolve().parents[2]
BATCH = 100
CHANCE = random.Random(1)


def make_row(start: datetime) -> dict[str, object]:
    """An event as an SDK sends it after enrichment: 21 columns, 10 properties, 0.9 kB."""
    user = CHANCE.randrange(5000)
    page = CHANCE.randrange(200)
    return {
        "event_id": str(uuid.UUID(int=CHANCE.getrandbits(128), version=4)),
        "project_id": "c0000000000000000001",
        "distinct_id": f"user-{user:05d}",
        "session_id": str(uuid.UUID(int=user, version=4)),
        "kind": CHANCE.choice(("page_view", "click", "add_to_cart", "search")),
        "occur_time": (start + timedelta(milliseconds=CHANCE.randrange(60_000))).strftime(
            "%Y-%m-%d %H:%M:%S.%f"
        )[:-3],
        "country": CHANCE.choice(("AT", "DE", "CH", "US")),
        "region": "Styria",
        "city": CHANCE.choice(("Graz", "Wien", "Linz")),
        "browser": CHANCE.choice(("Google Chrome", "Firefox", "Safari")),
        "browser_version": CHANCE.choice(("120.0", "121.0")),
        "os": CHANCE.choice(("Windows", "macOS")),
        "os_version": "10",
        "device": "Desktop",
        "platform": "web",
        "url": f"https://shop.example/p/{page}",
        "pathname": f"/p/{page}",
        "hostname": "shop.example",
        "referrer": "https://google.com/",
        "referrer_domain": "google.com",
        "channel": "Organic Search",
        "locale": "de-AT",
        "screen_size": "1920x1080",
        "page_title": "A page",
        "auto_properties": {
            "$screenWidth": "i1920",
            "$screenHeight": "i1080",
            "$sdkVersion": "s1.2.3",
            "$timezone": "sEurope/Vienna",
        },
        "custom_properties": {
            "plan": "spro",
            "amount": "d12.5",
            "count": "i3",
            "flag": "btrue",
            "sku": f"ssku-{CHANCE.randrange(1000)}",
            "note": "shello world",
        },
    }


async def fill(settings: Settings, events: int) -> int:
    """Put the events on the queue; returns the bytes."""
    streams = Streams(resolve_endpoints(settings).nats, name="pug-bench")
    publisher = Publisher(streams)
    start = datetime.now(tz=UTC)
    size = 0
    encoder = msgspec.json.Encoder()
    try:
        for _ in range(0, events, BATCH):
            body = encoder.encode_lines([make_row(start) for _ in range(BATCH)])
            size += len(body)
            await publisher.publish(EVENTS_SUBJECT, body, message_id=None, headers={})
    finally:
        await streams.close()
    return size


async def stored(store: ClickHouse) -> int:
    rows = await store.rows(
        "SELECT sum(event_count) FROM property_keys_event_buckets WHERE key = 'plan'"
    )
    return int(str(rows[0][0]))


def seconds_of(pids: dict[str, int]) -> dict[str, float]:
    times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items()}
    return {name: one.user + one.system for name, one in times.items()}


async def measure(settings: Settings, events: int) -> None:
    endpoints = resolve_endpoints(settings)
    await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)
    await migrate_nats(endpoints.nats, settings.nats.retention, lambda _name: None)
    size = await fill(settings, events)
    print(f"queue: {events} events, {size / events:.0f} bytes each, {BATCH} a message")
    store = ClickHouse(endpoints.clickhouse)
    log = settings.data_dir / "worker.out"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "appliance", "worker", "events"),
                *("--config", str(save_effective(settings))),
            ],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    listed = msgspec.json.decode(
        (settings.data_dir / "run" / "processes.json").read_bytes(), type=ProcessList
    ).processes
    pids = {one.name: one.pid for one in listed} | {"worker": worker.pid}
    try:
        while not await stored(store):
            await asyncio.sleep(0.005)
        first, started, before = await stored(store), time.monotonic(), seconds_of(pids)
        while (now := await stored(store)) < events:
            await asyncio.sleep(0.2)
        elapsed, after = time.monotonic() - started, seconds_of(pids)
        rate = (now - first) / elapsed
        print(f"worker: {rate:.0f} events/s ({now - first} in {elapsed:.2f} s)")
        for name in pids:
            used = (after[name] - before[name]) / (now - first) * 1e6
            print(f"  {name}: {used:.1f} us of processor an event")
    finally:
        worker.terminate()
        worker.wait()
        await store.close()


async def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    folder = Path(tempfile.mkdtemp(prefix="pug-bench-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        async with running_engines(folder / "pug", ("nats", "clickhouse")) as settings:
            if len(sys.argv) > 2:
                worker = msgspec.structs.replace(settings.worker, insert_rows_max=int(sys.argv[2]))
                settings = msgspec.structs.replace(settings, worker=worker)
            await measure(settings, events)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
