"""What a backup costs: seconds, bytes, and what clients notice of it.

Run it: `.venv/bin/python -m tests.bench.backup [--events 1000000]`. It starts an appliance of its
own in a folder under /tmp, fills it inside the engine, and posts events all the while.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from appliance.config.endpoints import load_ports, resolve_clickhouse
from appliance.engines.clickhouse_snapshot import ask_clickhouse
from tests.support.engines import engine_settings
from tests.support.stack import Stack, make_event, running_stack

FILL = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time, insert_block,
    auto_properties, custom_properties, country, browser, os, device, platform, url, pathname,
    hostname, referrer_domain, channel, locale)
SELECT generateUUIDv4(), {project:String}, concat('user-', toString(intHash32(number) % 50000)),
    toUUID(concat('00000000-0000-4000-8000-', leftPad(toString(intDiv(number, 9)), 12, '0'))),
    ['page_view', 'click', 'purchase', 'sign_up'][1 + intHash32(number) % 4],
    toDateTime64('2026-11-20 00:00:00', 3, 'UTC') - toIntervalSecond(number * 2), 1,
    map('$url', concat('s/p/', toString(number % 700)), '$scroll', concat('i', toString(number))),
    map('plan', 's' || toString(number % 5), 'price', 'f' || toString(number % 977),
        'note', concat('s', hex(sipHash64(number)))),
    ['DE', 'FR', 'US', 'IN'][1 + number % 4], 'Firefox', 'Linux', 'Desktop', 'web',
    concat('https://shop.example/p/', toString(number % 700)),
    concat('/p/', toString(number % 700)),
    'shop.example', 'search.example', 'Organic Search', 'de-DE'
FROM numbers({first:UInt64}, {count:UInt64})
"""
STEP = 250_000


class Client:
    """Posts batches of 100 and remembers how long each took."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.seconds: list[float] = []
        self.refused = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            answer = self.stack.post([make_event("posted") for _ in range(100)])
            self.seconds.append(time.monotonic() - began)
            self.refused += answer.status_code != 200
            self._stop.wait(0.05)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def told(self) -> str:
        ordered = sorted(self.seconds)
        at = lambda share: ordered[int(share * (len(ordered) - 1))] * 1000  # noqa: E731
        return (
            f"{len(ordered)} posts of 100, {self.refused} refused, "
            f"p50 {at(0.5):.0f} ms, p99 {at(0.99):.0f} ms, max {at(1):.0f} ms"
        )


def backup(stack: Stack, *arguments: str, data_dir: Path | None = None) -> tuple[dict, float]:
    """One command; what it told and how long it took."""
    began = time.monotonic()
    told = subprocess.run(
        [
            *(sys.executable, "-m", "appliance", "backup", *arguments, "--json"),
            *("--data-dir", str(data_dir or stack.data_dir)),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout.strip().splitlines()[-1]), time.monotonic() - began


def fill(stack: Stack, first: int, count: int) -> None:
    settings = engine_settings(stack.data_dir)
    ports = load_ports(settings)
    endpoint = resolve_clickhouse(settings, ports.clickhouse, settings.folders.secrets)
    for start in range(first, first + count, STEP):
        asyncio.run(
            ask_clickhouse(
                endpoint,
                FILL,
                project=stack.connection.project_id,
                first=str(start),
                count=str(min(STEP, first + count - start)),
            )
        )


def size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def mb(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--passphrase", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pug-bench-"))
    words = ["--target", str(folder / "target")]
    if options.passphrase:
        (folder / "word").write_text("correct horse battery staple")
        (folder / "word").chmod(0o600)
        words += ["--passphrase-file", str(folder / "word")]
    try:
        with running_stack(folder / "data") as stack:
            fill(stack, 0, options.events)
            stored = size_of(stack.data_dir / "clickhouse" / "store" / "store")
            print(f"{options.events} events: {mb(stored)} in the event store")
            with Client(stack) as quiet:
                time.sleep(5)
            print(f"without a backup:     {quiet.told()}")
            with Client(stack) as client:
                made, seconds = backup(stack, "create", *words)
                one = made["backups"][0]
            print(
                f"first backup:         {one['seconds']:.1f} s ({seconds:.1f} s with the program), "
                f"{mb(one['bytes_total'])} read, {mb(one['bytes_added'])} added, "
                f"worker held {one['hold_seconds']:.2f} s"
            )
            print(f"  meanwhile:          {client.told()}")
            made, _ = backup(stack, "create", *words)
            two = made["backups"][0]
            print(
                f"second, {len(client.seconds) * 100} events later: "
                f"{two['seconds']:.1f} s, {mb(two['bytes_added'])} added"
            )
            made, _ = backup(stack, "create", *words)
            three = made["backups"][0]
            print(
                f"third, at once:       {three['seconds']:.1f} s, {mb(three['bytes_added'])} added"
            )
            told, seconds = backup(stack, "verify", *words)
            report = told["verified"][0]
            good = f"{report['answers']} answers, good: {report['good']}"
            print(f"verify:               {seconds:.1f} s, {good}")
            point, _ = backup(stack, "restore-point", "create")
            print(f"restore point:        {point['restore_point']['seconds']:.2f} s")
            _, seconds = backup(stack, "restore", "latest", *words, data_dir=folder / "other")
            print(f"restore, fresh host:  {seconds:.1f} s")
        print(f"target:               {mb(size_of(folder / 'target'))} for 3 backups")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    main()
