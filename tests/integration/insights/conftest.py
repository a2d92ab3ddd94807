"""An event store with the real schema for the insight tests."""

import re
from pathlib import Path

import clickhouse_connect
import pytest

_MIGRATIONS = Path(__file__).parents[3] / "appliance" / "storage" / "clickhouse" / "migrations"


class _EmbeddedStore:
    def __init__(self, client) -> None:
        self.client = client

    async def rows(self, statement, parameters=None, settings=None):
        return self.client.query(
            statement, parameters=dict(parameters or {}), settings=dict(settings or {})
        ).result_rows

    async def insert(self, rows: bytes) -> None:
        self.client.raw_insert("events", insert_block=rows, fmt="JSONEachRow")


@pytest.fixture(scope="module")
def event_store():
    client = clickhouse_connect.get_client(interface="chdb", path="/tmp/insights/dbt")
    client.command("DROP DATABASE IF EXISTS pug")
    client.command("CREATE DATABASE pug")
    client.command("USE pug")
    for path in sorted(_MIGRATIONS.glob("000[123]*.sql")):
        for statement in re.sub("--.*", "", path.read_text()).split(";"):
            if statement.strip():
                client.command(statement)
    yield _EmbeddedStore(client)
    client.close()
