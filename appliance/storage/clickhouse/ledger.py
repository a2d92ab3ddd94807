"""ClickHouse's migrations: statements that may run twice, a ledger, and a lock in the engine.

Invariant: every statement is idempotent (`IF NOT EXISTS`; a test reads them all), because this
engine has no transaction around schema changes: a run killed anywhere is finished by the next one,
and two runs at once end in the same schema. The lock only keeps two runs from doing the work twice:
it is a table, whose making is atomic, held by a lease that is renewed before each statement and
that a dead holder stops renewing.
"""

from typing import Final, LiteralString, cast

from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    MisconfiguredError,
    UnavailableError,
)
from appliance.base.ids import random_token
from appliance.base.tasks import poll
from appliance.config.endpoints import ClickHouseEndpoint
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.schema import (
    Applied,
    MigrationReport,
    Progress,
    load_migrations,
    plan_migrations,
    split_statements,
)

LEASE_SECONDS: Final = 10
LOCK_SECONDS_MAX: Final = 120.0
STATEMENT_SECONDS_MAX: Final = 3600
_RETRY_SECONDS: Final = 0.2

_MAKE_DATABASE: Final = "CREATE DATABASE IF NOT EXISTS {name:Identifier}"
_MAKE_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt32,
    name String,
    checksum String,
    apply_time DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY version
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""
_APPLIED: Final = "SELECT DISTINCT version, name, checksum FROM schema_migrations ORDER BY version"
_RECORD: Final = (
    "INSERT INTO schema_migrations (version, name, checksum) "
    "SELECT {version:UInt32}, {name:String}, {checksum:String}"
)
_LOCK: Final = "CREATE TABLE schema_lock (holder String) ENGINE = Null"
_LOCK_AGE: Final = """
SELECT dateDiff('second', metadata_modification_time, now())
FROM system.tables
WHERE database = currentDatabase() AND name = 'schema_lock'
"""
_RENEW: Final = "ALTER TABLE schema_lock MODIFY COMMENT 'held'"
_BREAK: Final = "RENAME TABLE schema_lock TO {stale:Identifier}"
_DROP_STALE: Final = "DROP TABLE IF EXISTS {stale:Identifier}"
_UNLOCK: Final = "DROP TABLE IF EXISTS schema_lock"


async def migrate_clickhouse(endpoint: ClickHouseEndpoint, progress: Progress) -> MigrationReport:
    """Bring the event store to the schema of this release; run it as often as you like.

    Raises UnmetError when the store is newer, DamagedError when an applied file changed.
    """
    await _ensure_database(endpoint)
    store = ClickHouse(endpoint, answer_seconds_max=STATEMENT_SECONDS_MAX)
    try:
        await store.command(_MAKE_LEDGER)
        await _take_lock(store)
        try:
            return await _apply_pending(store, progress)
        finally:
            await store.command(_UNLOCK)
    finally:
        await store.close()


async def _ensure_database(endpoint: ClickHouseEndpoint) -> None:
    if not endpoint.database.isidentifier():
        raise MisconfiguredError(
            "URL_UNUSABLE",
            f"{endpoint.database!r} cannot be a database of ClickHouse",
            hint="use letters, digits and underscores",
        )
    anywhere = ClickHouseEndpoint(
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.user,
        password=endpoint.password,
        database="default",
        secure=endpoint.secure,
        external=endpoint.external,
    )
    store = ClickHouse(anywhere)
    try:
        await store.command(_MAKE_DATABASE, {"name": endpoint.database})
    finally:
        await store.close()


async def _apply_pending(store: ClickHouse, progress: Progress) -> MigrationReport:
    known = load_migrations("appliance.storage.clickhouse", "migrations")
    applied = tuple(
        Applied(version=cast("int", row[0]), name=str(row[1]), checksum=str(row[2]))
        for row in await store.rows(_APPLIED)
    )
    pending = plan_migrations("ClickHouse", known, applied)
    for migration in pending:
        progress(migration.name)
        for statement in split_statements(migration.text):
            await store.command(_RENEW)
            # a file of this package, not a value: literal although no type checker can see it
            await store.command(cast("LiteralString", statement))
        await store.command(
            _RECORD,
            {
                "version": migration.version,
                "name": migration.name,
                "checksum": migration.checksum,
            },
        )
    return MigrationReport(
        store="clickhouse", applied=tuple(one.name for one in pending), version=len(known)
    )


async def _take_lock(store: ClickHouse) -> None:
    async def try_lock() -> bool | None:
        try:
            await store.command(_LOCK)
        except ConflictError:
            if await _lock_age_seconds(store) > LEASE_SECONDS:
                await _break_lock(store)
            return None
        return True

    taken = await poll(try_lock, every_seconds=_RETRY_SECONDS, timeout_seconds=LOCK_SECONDS_MAX)
    if not taken:
        raise UnavailableError(
            "SCHEMA_LOCKED",
            "another process is migrating the event store",
            hint="wait for it, then try again",
        )


async def _lock_age_seconds(store: ClickHouse) -> int:
    try:
        ages = await store.rows(_LOCK_AGE)
    except ApplianceError as error:
        if error.transient:
            raise
        return 0  # the engine stumbles over a table that goes away while it is looked at
    return cast("int", ages[0][0]) if ages else 0


async def _break_lock(store: ClickHouse) -> None:
    """Remove a lock whose holder is gone; renaming lets exactly one of several waiters do it."""
    stale = f"schema_lock_stale_{random_token(8)}"
    try:
        await store.command(_BREAK, {"stale": stale})
    except MisconfiguredError:
        return  # somebody else was faster, or the holder came to its end
    await store.command(_DROP_STALE, {"stale": stale})
