"""Real engines for integration tests, started by our own supervisor in a process of its own.

Invariant: the engines live exactly as long as their block; they sit on free ports in a folder of
the test, and end with the test process whatever happens to it. Use `running_engines` in a test,
or the session-wide fixture `engines` of `tests/integration/conftest.py`.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Collection, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import anyio.to_thread

from appliance.base.ready import READY_DESCRIPTOR_VARIABLE, announce_ready, parse_ready
from appliance.config.effective import save_effective
from appliance.config.endpoints import save_ports
from appliance.config.model import (
    ApiSettings,
    ClickHouseSettings,
    NatsSettings,
    PostgresSettings,
    Settings,
)
from appliance.engines.installation import open_installation
from appliance.engines.place import choose_place
from appliance.supervisor.tree import Supervisor
from appliance.topology import ENGINES, child_settings, choose_ports, engine_specs

START_SECONDS_MAX: Final = 90
STOP_SECONDS_MAX: Final = 60
ALL: Final = frozenset(ENGINES)


def engine_settings(folder: Path) -> Settings:
    """Settings of an installation in `folder` whose ports are all chosen by the system."""
    return Settings(
        data_dir=folder,
        api=ApiSettings(port=0),
        postgres=PostgresSettings(port=0),
        nats=NatsSettings(port=0, monitor_port=0),
        clickhouse=ClickHouseSettings(port=0),
    )


@contextmanager
def started_engines(folder: Path, names: Collection[str] = ALL) -> Generator[Settings]:
    """Engines for the length of a block; the settings resolve to them."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "supervisor.out"
    reading, writing = os.pipe()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.engines", str(folder), *sorted(names)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            cwd=Path(__file__).parents[2],
            env={**os.environ, READY_DESCRIPTOR_VARIABLE: str(writing)},
        )
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            ready = parse_ready(pipe.readline())
        assert ready is not None, f"no engines:\n{log.read_text()}"
        yield engine_settings(folder)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=STOP_SECONDS_MAX)


@asynccontextmanager
async def running_engines(folder: Path, names: Collection[str] = ALL) -> AsyncGenerator[Settings]:
    """Engines for the length of an asynchronous block; the settings resolve to them."""
    engines = started_engines(folder, names)
    settings = await anyio.to_thread.run_sync(engines.__enter__)
    try:
        yield settings
    finally:
        await anyio.to_thread.run_sync(lambda: engines.__exit__(None, None, None))


async def run_engines(folder: Path, names: tuple[str, ...]) -> None:
    """Run the engines until standard input ends; the body of the helper process."""
    settings = engine_settings(folder)
    async with open_installation(settings) as installation:
        place = choose_place(settings, choose_ports(settings, api=0))
        save_ports(settings, place.ports)
        environment = child_settings(settings, save_effective(settings))
        supervisor = Supervisor(
            engine_specs(place, environment=environment, names=names),
            installation.surroundings(inherited=os.environ, start_failures_max=5),
        )
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), _ended(loop, supervisor))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(supervisor.run())
            ready = group.create_task(supervisor.all_ready())
            await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                announce_ready()
            ready.cancel()
            await running


def _ended(loop: asyncio.AbstractEventLoop, supervisor: Supervisor):
    def end() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            supervisor.stop()

    return end


if __name__ == "__main__":
    started = time.monotonic()
    asyncio.run(run_engines(Path(sys.argv[1]), tuple(sys.argv[2:])))
