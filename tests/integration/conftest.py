"""One set of real engines for each process of pytest."""

from collections.abc import Generator
from pathlib import Path

import pytest

from appliance.config.model import Settings
from tests.support.engines import started_engines


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Generator[Settings]:
    """Settings whose endpoints resolve to a PostgreSQL, a NATS and a ClickHouse of our own."""
    folder: Path = tmp_path_factory.mktemp("engines") / "pug"
    with started_engines(folder) as settings:
        yield settings
