"""An event store with the schema of this release, in a database of each test module's own."""

import json
from collections.abc import AsyncGenerator

import pytest
from msgspec.structs import replace

from appliance.base.ids import random_token
from appliance.config.endpoints import ClickHouseEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.ledger import migrate_clickhouse
from tests.support.insight_vectors import VectorPeople


class EventStore(ClickHouse):
    """The product's client, and a door for rows."""

    async def insert(self, rows: bytes) -> None:
        """Store NDJSON rows; the roll-ups are fed by the same insert."""
        if rows:
            await self.insert_ndjson("events", [rows], {})

    async def insert_people(self, people: VectorPeople) -> None:
        """Store the profiles and aliases of a vector."""
        profiles = [
            json.dumps(
                {
                    "project_id": people.vector,
                    "id": one["id"],
                    "external_id": one["external_id"],
                    "properties": json.dumps(one["properties"]),
                    "deleted": one.get("deleted", False),
                    "version": 1,
                }
            )
            for one in people.profiles
        ]
        aliases = [
            json.dumps({"project_id": people.vector, "version": 1} | dict(one))
            for one in people.aliases
        ]
        await self.insert_ndjson("profiles", ["\n".join(profiles).encode()], {})
        if aliases:
            await self.insert_ndjson("profile_aliases", ["\n".join(aliases).encode()], {})


@pytest.fixture(scope="module")
def endpoint(engines: Settings) -> ClickHouseEndpoint:
    """Where the event store is; for clients of a test's own."""
    found = resolve_endpoints(engines).clickhouse
    return replace(found, database=f"insights_{random_token(4)}")


@pytest.fixture(scope="module")
async def event_store(
    endpoint: ClickHouseEndpoint, anyio_backend: str
) -> AsyncGenerator[EventStore]:
    await migrate_clickhouse(endpoint, lambda _: None)
    store = EventStore(endpoint)
    yield store
    await store.close()
