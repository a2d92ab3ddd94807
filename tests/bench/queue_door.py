"""What the ways to the queue cost: the server's own port, systemd's proxy, the inherited socket.

Run it: `.venv/bin/python -m tests.bench.queue_door --built PROGRAM`, with the server that a bundle
has as `engines/nats/nats-server`. Each way gets a server of its own on an empty store, flushing
every message, and the same messages: one after the other, then sixteen at a time.
"""

import argparse
import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Final

import nats
from nats.aio.client import Client

PROXY: Final = "/usr/lib/systemd/systemd-socket-proxyd"
STOCK: Final = Path(sys.prefix, "bin", "nats-server")
HAND_OVER: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""
AT_ONCE: Final = 16
SIZES: Final = ((1 << 10, 400), (64 << 10, 200), (1 << 20, 60))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def holding(door: socket.socket, *argv: str) -> subprocess.Popen[bytes]:
    """A program that inherits the listening socket, as from systemd."""
    return subprocess.Popen(
        [sys.executable, "-c", HAND_OVER, str(door.fileno()), *argv],
        pass_fds=(door.fileno(),),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@asynccontextmanager
async def queue(way: str, built: Path) -> AsyncGenerator[Client]:
    """A client of a running server, reached in one of the ways."""
    folder = Path(tempfile.mkdtemp(prefix="queue-door-"))
    own = free_port()
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{own}"\nmax_payload: 9437184\n'
        f'jetstream {{ store_dir: "{folder}", sync_interval: always }}\n'
    )
    server = (str(built if way == "socket" else STOCK), "--config", str(config))
    door = socket.create_server(("127.0.0.1", 0), backlog=1024)
    started: list[subprocess.Popen[bytes]] = []
    try:
        if way == "socket":
            started.append(holding(door, *server))
        else:
            started.append(subprocess.Popen(server, stderr=subprocess.DEVNULL))
        if way == "proxy":
            started.append(holding(door, PROXY, f"127.0.0.1:{own}"))
        port = own if way == "port" else int(door.getsockname()[1])
        client = await nats.connect(f"nats://127.0.0.1:{port}", max_reconnect_attempts=50)
        try:
            yield client
        finally:
            await client.close()
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=20)
        door.close()
        shutil.rmtree(folder)


async def measure(way: str, built: Path) -> None:
    """Print latency and throughput of one way."""
    async with queue(way, built) as client:
        stream = client.jetstream(timeout=60)
        await stream.add_stream(name="events", subjects=["events"])
        for size, count in SIZES:
            payload = os.urandom(size)
            seconds: list[float] = []
            for _ in range(count):
                begun = monotonic()
                await stream.publish("events", payload)
                seconds.append(monotonic() - begun)
            turn = asyncio.Semaphore(AT_ONCE)

            async def publish(turn: asyncio.Semaphore = turn, payload: bytes = payload) -> None:
                async with turn:
                    await stream.publish("events", payload)

            begun = monotonic()
            await asyncio.gather(*(publish() for _ in range(count)))
            rate = count / (monotonic() - begun)
            quantiles = statistics.quantiles(seconds, n=100)
            print(
                f"{way:<7} {size >> 10:>5} KiB  p50 {quantiles[49] * 1e3:6.2f} ms  "
                f"p99 {quantiles[98] * 1e3:6.2f} ms  {rate:7.0f} messages/s at {AT_ONCE} at a time",
                flush=True,
            )


async def main() -> None:
    """Measure every way, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--built", type=Path, required=True, help="the server of a bundle")
    options = parser.parse_args()
    for way in ("port", "proxy", "socket"):
        await measure(way, options.built)


if __name__ == "__main__":
    asyncio.run(main())
