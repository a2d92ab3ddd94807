"""One engine process for each module, driven by the real clients."""

from collections.abc import Callable, Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from tests.integration.clickhouse_http import engine_process
from tests.integration.clickhouse_http.engine_process import EngineProcess


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """One engine for all tests that do not hurt it."""
    running = engine_process.start(tmp_path_factory.mktemp("engine") / "data", queries_max=8)
    try:
        yield running
        assert running.stop() == 0
    finally:
        engine_process.end(running)


@pytest.fixture
def own_engine(tmp_path: Path) -> Iterator[Callable[..., EngineProcess]]:
    """Engines of a test that kills or limits them."""
    started: list[EngineProcess] = []

    def start(data_dir: Path | None = None, **options: object) -> EngineProcess:
        running = engine_process.start(data_dir or tmp_path / "data", **options)
        started.append(running)
        return running

    try:
        yield start
    finally:
        for running in started:
            engine_process.end(running)


@pytest.fixture
def client(engine: EngineProcess) -> Iterator[Client]:
    connected = clickhouse_connect.get_client(**engine.driver)
    try:
        yield connected
    finally:
        connected.close()


@pytest.fixture
def table(engine: EngineProcess, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for the table of one test; dropped afterwards."""
    name = "t_" + "".join(c if c.isalnum() else "_" for c in request.node.name)[:100]
    engine.ask(f"DROP TABLE IF EXISTS {name}")
    yield name
    engine.ask(f"DROP TABLE IF EXISTS {name}")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
