"""Migrations of the three stores: once, twice, at the same time, killed in the middle."""

import asyncio

import msgspec
import pytest

from appliance.base.errors import ConflictError, DamagedError, UnmetError
from appliance.base.units import Seconds
from appliance.config.endpoints import Endpoints
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.migrate import (
    MigrationReport,
    migrate_clickhouse,
    migrate_nats,
    migrate_postgres,
)
from appliance.storage.postgres.pool import Postgres
from appliance.storage.schema import Applied, load_migrations
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.kv import LEDGER_BUCKET, Bucket
from appliance.storage.streams.ledger import LEDGER_KEY

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DAY = Seconds(86400)


def silent(_name: str) -> None:
    return


async def migrate(store: str, endpoints: Endpoints) -> MigrationReport:
    match store:
        case "postgres":
            return await migrate_postgres(endpoints.postgres, silent)
        case "clickhouse":
            return await migrate_clickhouse(endpoints.clickhouse, silent)
        case _:
            return await migrate_nats(endpoints.nats, DAY, silent)


@pytest.mark.parametrize("store", ["postgres", "clickhouse"])
async def test_twice_and_at_the_same_time(endpoints: Endpoints, store: str) -> None:
    """Two processes at once apply each file once; a later run finds nothing to do."""
    first, second = await asyncio.gather(migrate(store, endpoints), migrate(store, endpoints))
    assert sorted([bool(first.applied), bool(second.applied)]) == [False, True]
    assert first.version == second.version == len(first.applied + second.applied)
    assert (await migrate(store, endpoints)).applied == ()


async def test_nats_twice_and_at_the_same_time(endpoints: Endpoints) -> None:
    """Definitions are ensured by whoever comes, as often as they come."""
    await asyncio.gather(*(migrate("nats", endpoints) for _ in range(3)))
    assert (await migrate("nats", endpoints)).applied == ()


async def test_clickhouse_run_killed_in_the_middle(endpoints: Endpoints) -> None:
    """Half a file applied and the lock left behind: the next run ends right."""
    latest = (await migrate("clickhouse", endpoints)).version
    store = ClickHouse(endpoints.clickhouse)
    try:
        whole = await tables(store)
        await store.command("DROP VIEW event_names_repair SYNC")
        await store.command("DROP TABLE property_keys_event_buckets SYNC")
        await store.command("DROP VIEW property_keys_event_buckets_feed SYNC")
        await store.command(
            "ALTER TABLE schema_migrations DELETE WHERE version >= 5 SETTINGS mutations_sync = 1"
        )
        await store.command("CREATE TABLE schema_lock (holder String) ENGINE = Null")
        report = await migrate("clickhouse", endpoints)
        assert len(report.applied) == latest - 4
        assert await tables(store) == whole
    finally:
        await store.close()


async def tables(store: ClickHouse) -> set[str]:
    rows = await store.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return {str(row[0]) for row in rows}


async def test_postgres_run_killed_in_the_middle(endpoints: Endpoints) -> None:
    """A file and its ledger line appear together, so a killed run leaves whole files only."""
    files = load_migrations("appliance.storage.postgres", "migrations")
    database = Postgres(endpoints.postgres)
    try:
        with pytest.raises(ConflictError):
            await half_a_file(database)
        assert await database.row("SELECT 1 FROM pg_tables WHERE tablename = 'half'") is None
        assert len((await migrate("postgres", endpoints)).applied) == len(files)
    finally:
        await database.close()


async def half_a_file(database: Postgres) -> None:
    async with database.transaction() as transaction:
        await transaction.execute("CREATE TABLE half (a integer)")
        raise ConflictError("KILLED", "in the middle")


async def test_changed_file_is_an_error(endpoints: Endpoints) -> None:
    """An applied file with another checksum is named, in both SQL stores."""
    await migrate("postgres", endpoints)
    await migrate("clickhouse", endpoints)
    database, store = Postgres(endpoints.postgres), ClickHouse(endpoints.clickhouse)
    try:
        await database.execute("UPDATE schema_migrations SET checksum = 'x' WHERE version = 2")
        await store.command(
            "ALTER TABLE schema_migrations UPDATE checksum = 'x' WHERE version = 2 "
            "SETTINGS mutations_sync = 1"
        )
    finally:
        await database.close()
        await store.close()
    with pytest.raises(DamagedError, match="0002_create_projects"):
        await migrate("postgres", endpoints)
    with pytest.raises(DamagedError, match="0002_create_event_rollup"):
        await migrate("clickhouse", endpoints)


async def test_newer_ledger_is_an_error(endpoints: Endpoints) -> None:
    """A store from which a newer release took away what we use is not touched, in all three."""
    for store in ("postgres", "clickhouse", "nats"):
        await migrate(store, endpoints)
    line = Applied(version=9999, name="9999_contract_9999_drop_past", checksum="x")
    database, events = Postgres(endpoints.postgres), ClickHouse(endpoints.clickhouse)
    streams = Streams(endpoints.nats, name="pug-test")
    bucket = Bucket(streams, LEDGER_BUCKET)
    entry = await bucket.load(LEDGER_KEY)
    assert entry is not None
    try:
        await database.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            line.version,
            line.name,
            line.checksum,
        )
        await events.command(
            "INSERT INTO schema_migrations (version, name, checksum) "
            "SELECT 9999, '9999_contract_9999_drop_past', 'x'"
        )
        lines = (*msgspec.json.decode(entry.value, type=tuple[Applied, ...]), line)
        await bucket.put(LEDGER_KEY, msgspec.json.encode(lines))
        for store in ("postgres", "clickhouse", "nats"):
            with pytest.raises(UnmetError, match="9999_contract_9999_drop_past"):
                await migrate(store, endpoints)
    finally:
        await bucket.put(LEDGER_KEY, entry.value)
        await streams.close()
        await database.close()
        await events.close()


async def test_years_outside_32_bit_seconds(endpoints: Endpoints) -> None:
    """Minutes, days and months of 1970 to 2299 are told apart [ingestion 16]."""
    await migrate("clickhouse", endpoints)
    store = ClickHouse(endpoints.clickhouse)
    times = ["1970-01-01 00:00:00.000", "2150-06-01 10:00:30.000", "2150-06-01 10:01:30.000"]
    times.append("2299-12-31 23:59:59.999")
    rows = [
        {
            "event_id": f"00000000-0000-4000-8000-00000000000{number}",
            "project_id": "p",
            "distinct_id": "d",
            "session_id": "00000000-0000-4000-8000-000000000000",
            "kind": "k",
            "occur_time": time,
        }
        for number, time in enumerate(times)
    ]
    try:
        body = b"\n".join(msgspec.json.encode(row) for row in rows)
        await store.insert_ndjson("events", [body], {})
        days = await store.rows(
            "SELECT DISTINCT toString(day) FROM dashboard_event_rollup_daily ORDER BY 1"
        )
        assert [row[0] for row in days] == ["1970-01-01", "2150-06-01", "2299-12-31"]
        parts = await store.rows(
            "SELECT partition FROM system.parts WHERE database = currentDatabase() "
            "AND table = 'events' AND active ORDER BY 1"
        )
        assert [row[0] for row in parts] == ["197001", "215006", "229912"]
        minutes = await store.rows("SELECT uniqExact(date_trunc('minute', occur_time)) FROM events")
        assert minutes[0][0] == 4
    finally:
        await store.close()
