"""What every test gets: asyncio as the only loop, and no inherited settings."""

import os

import pytest

_OURS = ("PUG_", "DATABASE_URL", "NATS_", "CLICKHOUSE_", "REDIS_URL", "DB_", "OTEL_")

for _name in [name for name in os.environ if name.startswith(_OURS)]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The one event loop the appliance runs on."""
    return "asyncio"
