"""The engine killed between "the token is known" and "the rows are there" (decision 0002).

`strace` kills the engine at the n-th rename of a thread (the first two are those of its
configuration and its profile at start, so n begins at 3): of a block over three months the first
three put raw parts in place, the next five a part of each roll-up.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from appliance.base.errors import ApplianceError
from appliance.base.ready import parse_ready
from appliance.base.tasks import poll
from appliance.clickhouse_http.server import EngineOptions
from appliance.config.endpoints import ClickHouseEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.inserts import EventInserts
from appliance.workers.state import WorkerState
from tests.support.pipeline import Counts, Stage, encode, make_events, open_stage
from tests.support.ports import free_port

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace places the kill"),
]

PASSWORD = "correct horse"
EVENTS = 60
_PROGRAM = """
import sys, msgspec
from appliance.clickhouse_http.server import EngineOptions, serve
serve(msgspec.json.decode(sys.argv[1], type=EngineOptions, dec_hook=lambda kind, raw: kind(raw)))
"""


@contextmanager
def engine(folder: Path, *, port: int = 0, kill_at: int | None = None) -> Generator[int]:
    """An engine of our own on `folder`; yields its port."""
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    data = folder / "data"
    data.mkdir(exist_ok=True)
    options = EngineOptions(
        data_dir=data, port=port, user="pug", password_file=password, memory_bytes_max=2 << 30
    )
    command = [sys.executable, "-c", _PROGRAM, msgspec.json.encode(options, enc_hook=str).decode()]
    if kill_at is not None:
        kill = f"inject=rename:signal=KILL:when={kill_at}"
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename", "-e", kill]
        command = [*trace, *command]
    reading, writing = os.pipe()
    with (folder / "engine.out").open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            start_new_session=True,
            env={**os.environ, "PUG_READY_FD": str(writing)},
        )
    os.close(writing)
    try:
        assert select.select([reading], [], [], 90)[0], "the engine does not start"
        ready = parse_ready(os.read(reading, 1024).rstrip())
        assert ready is not None
        assert ready.port is not None
        yield ready.port
    finally:
        os.close(reading)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def endpoint(port: int) -> ClickHouseEndpoint:
    return ClickHouseEndpoint(
        host="127.0.0.1",
        port=port,
        user="pug",
        password=Secret(PASSWORD),
        database="pug",
        secure=False,
        external=True,
    )


@contextmanager
def prepared(folder: Path) -> Generator[int]:
    """A port on which an engine with our schema ran and can run again."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    with engine(folder, port=port):
        subprocess.run(
            [sys.executable, "-c", _MIGRATE, str(port), PASSWORD], check=True, timeout=120
        )
    yield port


_MIGRATE = """
import asyncio, sys
from appliance.config.endpoints import ClickHouseEndpoint
from appliance.config.secrets import Secret
from appliance.storage.migrate import migrate_clickhouse
at = ClickHouseEndpoint(host="127.0.0.1", port=int(sys.argv[1]), user="pug",
    password=Secret(sys.argv[2]), database="pug", secure=False, external=True)
asyncio.run(migrate_clickhouse(at, lambda name: None))
"""


@pytest.mark.parametrize("rename", [3, 4, 5, 7, 8])
async def test_kill_between_token_and_rows(engines: Settings, tmp_path: Path, rename: int) -> None:
    """Whichever part is missing although its token is known, the worker adds just that."""
    found = resolve_endpoints(engines)
    async with open_stage(engines) as emptied:
        with prepared(tmp_path / "own") as port:
            stage = Stage(msgspec.structs.replace(found, clickhouse=endpoint(port)))
            try:
                with engine(tmp_path / "own", port=port, kill_at=rename):
                    async with emptied.working(stage.writer()) as writer:
                        await stage.publish(encode(make_events(EVENTS, months=3)))
                        await until_paused(writer._state)
                        with engine(tmp_path / "own", port=port):
                            await stage.expect(Counts.of(EVENTS))
            finally:
                await stage.close()


async def until_paused(state: WorkerState) -> None:
    async def paused() -> bool | None:
        return bool(state.pause) or None

    assert await poll(paused, every_seconds=0.02, timeout_seconds=60)


async def test_control_arm(tmp_path: Path) -> None:
    """Control: repeating the insert under its token is answered "done", and rows are missing."""
    chunks = [encode(make_events(EVENTS, months=3))]
    with prepared(tmp_path / "own") as port:
        with engine(tmp_path / "own", port=port, kill_at=3):
            store = ClickHouse(endpoint(port))
            with pytest.raises(ApplianceError):
                await EventInserts(store).insert_events(chunks, token="t")
            await store.close()
        with engine(tmp_path / "own", port=port):
            store = ClickHouse(endpoint(port))
            await EventInserts(store).insert_events(chunks, token="t")
            kept = await store.rows("SELECT count() FROM events")
            await store.close()
    assert 0 < int(str(kept[0][0])) < EVENTS
