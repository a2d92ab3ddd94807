"""Stores nobody else uses, on the shared engines."""

import uuid
from collections.abc import AsyncGenerator

import asyncpg
import msgspec
import pytest

from appliance.config.endpoints import Endpoints, PostgresEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.storage.clickhouse.client import ClickHouse


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def endpoints(engines: Settings, anyio_backend: str) -> AsyncGenerator[Endpoints]:
    """Endpoints with an empty PostgreSQL schema and a ClickHouse database yet to be made."""
    found = resolve_endpoints(engines)
    name = f"t{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(found.postgres.url.reveal())
    await admin.execute(f'CREATE SCHEMA "{name}"')
    own = f"{found.postgres.url.reveal()}?search_path={name}"
    try:
        yield msgspec.structs.replace(
            found,
            postgres=PostgresEndpoint(url=Secret(own), pool_size_max=4, external=False),
            clickhouse=msgspec.structs.replace(found.clickhouse, database=name),
        )
    finally:
        await admin.execute(f'DROP SCHEMA "{name}" CASCADE')
        await admin.close()
        store = ClickHouse(msgspec.structs.replace(found.clickhouse, database="default"))
        await store.command("DROP DATABASE IF EXISTS {name:Identifier}", {"name": name})
        await store.close()
