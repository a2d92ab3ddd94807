"""What it costs when people watch: ingest with and without them, the way of an event, memory.

    .venv/bin/python -m tests.bench.live [--json] [--watchers 50] [--seconds 5] [--rounds 3]
                                         [--data-dir DIR]

Starts a stack of its own, or takes the running one of DIR. Rounds with and without watchers take
turns, as fast as events are taken; the watchers are sockets of another process. Then one event at
a time: from the answer of its POST to the frame. Then the key is revoked: until the last stream
has ended. Ends with 1 when a stream of somebody who reads was cut, or told more than was sent.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter, sleep
from urllib.parse import urlsplit

import httpx
import msgspec
import psutil

from appliance.config.connection import Connection, load_connection
from appliance.config.load import load_settings
from appliance.services.wiring import build_services
from tests.bench.load import Template, send_for
from tests.bench.watch import Processors
from tests.support.stack import BATCH_CREATE, make_event, pug, running_stack

BATCH = 100
CONNECTIONS = 4
SINGLES = 30
SETTLE_SECONDS = 2.0
PAUSE_SECONDS = 0.7


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One run as fast as it went; times are of POSTs of 100 events."""

    watchers: int
    accepted_per_second: int
    p50_ms: float
    p99_ms: float
    api_us: float
    """Processor time of the API for an event."""
    api_megabytes: int


class Told(msgspec.Struct, frozen=True):
    """What one watcher read."""

    events: int
    dropped: int
    frames: int
    ended: str
    ended_at: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    machine: str
    rounds: list[Round]
    without_per_second: int
    with_per_second: int
    sent: int
    told: list[Told]
    way_p50_ms: float
    way_max_ms: float
    revoked_seconds: float

    @property
    def honest(self) -> bool:
        """Whether every watcher was told of as many events as were sent, and not more."""
        return all(
            one.events + one.dropped == self.sent and one.ended == "UNAUTHENTICATED"
            for one in self.told
        )


class Watchers:
    """So many streams in a process of their own; it tells what each read when all have ended."""

    def __init__(self, connection: Connection, key: str, number: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.live", "--watch", connection.url, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(key + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "watching\n"

    def finish(self) -> list[Told]:
        """Wait until every stream has ended; what each was told."""
        assert self._process.stdout is not None
        told = msgspec.json.decode(self._process.stdout.read(), type=list[Told])
        self._process.wait()
        return told

    def stop(self) -> None:
        """Go away without a word."""
        self._process.kill()
        self._process.wait()


class Bench:
    """One running stack that is loaded, with and without people who watch."""

    def __init__(self, data_dir: Path, seconds: float) -> None:
        self.connection = load_connection(data_dir / "connection.json")
        self._processors = Processors(data_dir)
        told = json.loads(pug("status", "--json", data_dir=data_dir).stdout)
        pids = {line["name"]: line.get("pid") for line in told["components"]}
        self._api = psutil.Process(pids["api"])
        self._seconds = seconds

    def load(self, watchers: int) -> tuple[Round, int]:
        """As fast as it goes for some seconds; also how many events were sent."""
        template = Template(self.connection, "page_view", "json", BATCH)
        self._processors.used()
        sent = send_for(
            template, self.connection, seconds=self._seconds, connections=CONNECTIONS, rate=0
        )
        used = self._processors.used()
        events = sent.batches * BATCH
        megabytes = sum(
            process.memory_full_info().pss
            for process in (self._api, *self._api.children(recursive=True))
        )
        found = Round(
            watchers=watchers,
            accepted_per_second=int(events / sent.seconds),
            p50_ms=sent.percentile_ms(0.5),
            p99_ms=sent.percentile_ms(0.99),
            api_us=round(used.get("api", 0.0) / events * 1e6, 1),
            api_megabytes=megabytes >> 20,
        )
        return found, events


def way_of_an_event(connection: Connection, key: str) -> list[float]:
    """Milliseconds from the answer of a POST to the frame at one watcher, one event at a time."""
    found: list[float] = []
    with connect(connection.url, key) as reader, httpx.Client(base_url=connection.url) as client:
        for _ in range(SINGLES):
            sleep(PAUSE_SECONDS)
            event = make_event("single")
            posted = client.post(
                BATCH_CREATE,
                json={"events": [event]},
                headers={"x-api-key": connection.public_key},
            )
            assert posted.status_code == 200, posted.text
            began = perf_counter()
            received = b""
            while str(event["eventId"]).encode() not in received:
                received += reader.recv(1 << 16)
            found.append((perf_counter() - began) * 1000)
    return sorted(found)


def run(data_dir: Path, *, watchers: int, seconds: float, rounds: int) -> Report:
    """Every round, then one event at a time, then the revocation."""
    bench = Bench(data_dir, seconds)
    key = make_key(data_dir, bench.connection)
    bench.load(0)  # first requests load code and open connections
    found: list[Round] = []
    watching = None
    sent = 0
    for number in range(rounds):
        sleep(SETTLE_SECONDS)
        found.append(bench.load(0)[0])
        sleep(SETTLE_SECONDS)
        watching = Watchers(bench.connection, key.text, watchers)
        measured, sent = bench.load(watchers)
        found.append(measured)
        if number + 1 < rounds:
            watching.stop()
    assert watching is not None
    sleep(SETTLE_SECONDS)
    way = way_of_an_event(bench.connection, key.text)
    revoked_at = asyncio.run(revoke(data_dir, key.id))
    told = watching.finish()
    return Report(
        machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        rounds=found,
        without_per_second=_middle(found, 0),
        with_per_second=_middle(found, watchers),
        sent=sent + len(way),
        told=told,
        way_p50_ms=round(statistics.median(way), 1),
        way_max_ms=round(way[-1], 1),
        revoked_seconds=round(max(one.ended_at for one in told) - revoked_at, 2),
    )


def _middle(rounds: list[Round], watchers: int) -> int:
    return int(
        statistics.median(one.accepted_per_second for one in rounds if one.watchers == watchers)
    )


class Key(msgspec.Struct, frozen=True):
    """A private key and its id."""

    id: str
    text: str


def make_key(data_dir: Path, connection: Connection) -> Key:
    """A fresh private key, which the bench may revoke."""
    made = pug(
        "key", "create", connection.project_id, "--kind", "private", "--json", data_dir=data_dir
    )
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    return Key(told["id"], told["key"])


async def revoke(data_dir: Path, key_id: str) -> float:
    """End the key; when that was done, by the monotonic clock that all processes share."""
    flags = {"data_dir": str(data_dir)}
    settings = load_settings(config_file=None, environment={}, flags=flags)
    services = build_services(settings, name="live-bench")
    await services.open()
    try:
        await services.key_chain.revoke_key(key_id)
        return monotonic()
    finally:
        await services.close()


def connect(url: str, key: str) -> socket.socket:
    """A stream that listens."""
    where = urlsplit(url)
    made = socket.create_connection((where.hostname, where.port), timeout=60)
    made.sendall(f"GET /live HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\n\r\n".encode())
    received = b""
    while b": watching" not in received:
        piece = made.recv(1 << 16)
        assert piece, received
        received += piece
    return made


def read_stream(connection: socket.socket) -> Told:
    """Everything up to the end, counted."""
    events = dropped = frames = 0
    ended, kind, rest = "", b"", b""
    while not ended and (piece := connection.recv(1 << 18)):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"event: "):
                kind = line[7:]
                frames += 1
                events += kind == b"event"
            elif line.startswith(b"data: ") and kind == b"dropped":
                dropped += json.loads(line[6:])["events"]
            elif line.startswith(b"data: ") and kind == b"end":
                ended = json.loads(line[6:])["reason"]
    return Told(events, dropped, frames, ended, monotonic())


def watch(url: str, number: int) -> None:
    """The process of the watchers; the key comes on standard input."""
    key = sys.stdin.readline().strip()
    connections = [connect(url, key) for _ in range(number)]
    print("watching", flush=True)
    with ThreadPoolExecutor(number) as pool:
        told = list(pool.map(read_stream, connections))
    print(msgspec.json.encode(told).decode())


def show(report: Report) -> None:
    """The table for people."""
    print(report.machine)
    print(f"{'watchers':>8}{'events/s':>10}{'p50 ms':>8}{'p99 ms':>8}{'API us':>8}{'API MiB':>9}")
    for one in report.rounds:
        print(
            f"{one.watchers:>8}{one.accepted_per_second:>10}{one.p50_ms:>8}{one.p99_ms:>8}"
            f"{one.api_us:>8}{one.api_megabytes:>9}"
        )
    change = report.with_per_second / report.without_per_second - 1
    print(
        f"medians: {report.without_per_second} events/s without, {report.with_per_second} with"
        f" ({change:+.1%})"
    )
    first = report.told[0]
    print(f"each watcher: {first.events} events told, {first.dropped} counted of {report.sent}")
    print(f"from acknowledged to told: p50 {report.way_p50_ms} ms, max {report.way_max_ms} ms")
    print(f"from the revocation to the end of all streams: {report.revoked_seconds} s")
    if not report.honest:
        print("A STREAM WAS CUT, OR WHAT IT WAS TOLD DOES NOT ADD UP")


@contextmanager
def stack_at(chosen: Path | None) -> Generator[Path]:
    """The running stack that was named, or one of our own."""
    if chosen is not None:
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="live-bench-") as name:
        data_dir = Path(name) / "pug"
        with running_stack(data_dir):
            yield data_dir


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--watch", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.watch:
        watch(chosen.watch[0], int(chosen.watch[1]))
        return 0
    with stack_at(chosen.data_dir) as data_dir:
        report = run(
            data_dir, watchers=chosen.watchers, seconds=chosen.seconds, rounds=chosen.rounds
        )
    if chosen.json:
        print(json.dumps(msgspec.to_builtins(report)))
    else:
        show(report)
    return 0 if report.honest else 1


if __name__ == "__main__":
    sys.exit(main())
