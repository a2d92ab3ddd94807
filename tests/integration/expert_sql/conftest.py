"""Two projects in one event store: `mine`, whose expert asks, and `other`, which has a secret."""

from collections.abc import AsyncGenerator

import pytest
from msgspec.structs import replace

from appliance.base.ids import random_token
from appliance.config.endpoints import ClickHouseEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.expert_sql.answers import Form, Scope
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.expert_sql import ExpertSql
from appliance.storage.clickhouse.expert_views import views_database
from appliance.storage.clickhouse.ledger import migrate_clickhouse

SECRET = "SECRET-OF-THE-OTHER"
"""Stands in every text of the other project's rows."""
ROWS = 500

EVENTS = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time, url, pathname,
    country, custom_properties)
SELECT generateUUIDv4(), if(number % 2 = 0, 'mine', 'other'),
    concat(if(number % 2 = 0, 'd', {secret:String}), toString(number % 20)), generateUUIDv4(),
    if(number % 2 = 0, 'page_view', {secret:String}), now64(3) - number,
    if(number % 2 = 0, 'https://mine.test/ä', {secret:String}), '/', 'AT',
    map('plan', if(number % 2 = 0, 'spro', concat('s', {secret:String})), 'age', 'i42')
FROM numbers({rows:UInt32})
"""
PROFILES = """
INSERT INTO profiles (project_id, id, external_id, properties, deleted, create_time, update_time,
    version)
VALUES ('mine', 'p1', 'ann', '{"name":"Ann"}', false, now64(6), now64(6), 1),
    ('mine', 'p1', 'ann', '{"name":"Anna"}', false, now64(6), now64(6), 2),
    ('mine', 'p2', 'gone', '{}', true, now64(6), now64(6), 1),
    ('other', 'p1', {secret:String}, {secret:String}, false, now64(6), now64(6), 9)
"""
ALIASES = """
INSERT INTO profile_aliases (project_id, alias_id, profile_id, external_id, version)
VALUES ('mine', 'd0', 'p1', 'ann', 1), ('other', 'd0', {secret:String}, {secret:String}, 9)
"""


class Expert:
    """Somebody who asks about `mine`."""

    def __init__(self, endpoint: ClickHouseEndpoint) -> None:
        self.endpoint = endpoint
        self.database = endpoint.database
        self.views = views_database(endpoint.database)
        self.sql = ExpertSql(endpoint)
        self.plain = ClickHouse(endpoint)
        """The store without any lock of ours."""
        self.reader = ClickHouse(replace(endpoint, database=self.views))

    async def ask(self, sql: str, form: Form = Form.CSV, *, project: str = "mine") -> bytes:
        """The whole answer; raises as the service does."""
        query = await self.sql.admit(sql)
        async with self.sql.answer(Scope(project), query, form) as pieces:
            return b"".join([piece async for piece in pieces])

    async def rows(self, sql: str) -> list[str]:
        """The lines of an answer without their heading."""
        return (await self.ask(sql)).decode().splitlines()[1:]

    async def close(self) -> None:
        await self.sql.close()
        await self.plain.close()
        await self.reader.close()


@pytest.fixture(scope="module")
async def expert(engines: Settings, anyio_backend: str) -> AsyncGenerator[Expert]:
    endpoint = resolve_endpoints(engines).clickhouse
    endpoint = replace(endpoint, database=f"expert_{random_token(4)}")
    await migrate_clickhouse(endpoint, lambda _: None)
    one = Expert(endpoint)
    await one.plain.command(EVENTS, {"secret": SECRET, "rows": 2 * ROWS})
    await one.plain.command(PROFILES, {"secret": SECRET})
    await one.plain.command(ALIASES, {"secret": SECRET})
    await one.ask("SELECT 1")
    yield one
    for database in (one.views, endpoint.database):
        await one.plain.command("DROP DATABASE IF EXISTS {name:Identifier}", {"name": database})
    await one.close()
