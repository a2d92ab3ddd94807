"""An event store with the real schema, in a database of its own for each module."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import LiteralString
from uuid import uuid4

import pytest
from msgspec.structs import replace

from appliance.config.endpoints import ClickHouseEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.inserts import INSERT_SETTINGS
from appliance.storage.migrate import migrate_clickhouse


class EventStore:
    """Opens the driver for each call, because every property test has an event loop of its own."""

    def __init__(self, endpoint: ClickHouseEndpoint) -> None:
        self._endpoint = endpoint

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[ClickHouse]:
        store = ClickHouse(self._endpoint)
        try:
            yield store
        finally:
            await store.close()

    async def rows(
        self,
        statement: LiteralString,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, Setting] | None = None,
    ) -> Sequence[Row]:
        """The rows of a query."""
        async with self._opened() as store:
            return await store.rows(statement, parameters, settings)

    async def insert(self, rows: bytes) -> None:
        """Insert events, one JSON object a line."""
        async with self._opened() as store:
            await store.insert_ndjson("events", [rows], INSERT_SETTINGS)


@pytest.fixture(scope="module")
def event_store(engines: Settings) -> EventStore:
    """The event store of the engine, migrated, empty."""
    endpoint = replace(
        resolve_endpoints(engines).clickhouse, database=f"insights_{uuid4().hex[:12]}"
    )
    asyncio.run(migrate_clickhouse(endpoint, lambda _name: None))
    return EventStore(endpoint)
