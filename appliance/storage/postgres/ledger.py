"""PostgreSQL's migrations: each file and its ledger line in one transaction, under one lock.

Invariant: a session-level advisory lock lets one process in at a time and ends with its connection,
so a killed run leaves neither a lock nor half a file.
"""

from typing import Final, LiteralString, cast

import msgspec

from appliance.config.endpoints import PostgresEndpoint
from appliance.storage.postgres.driver import connect
from appliance.storage.postgres.errors import postgres_errors
from appliance.storage.postgres.pool import CONNECT_SECONDS_MAX
from appliance.storage.schema import (
    Applied,
    MigrationReport,
    Progress,
    load_migrations,
    plan_migrations,
)

LOCK_NUMBER: Final = 0x7075675F73636D61
LOCK_SECONDS_MAX: Final = 120.0
STATEMENT_SECONDS_MAX: Final = 3600.0

_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    apply_time timestamptz NOT NULL DEFAULT now()
)
"""
_APPLIED: Final = "SELECT version, name, checksum FROM schema_migrations ORDER BY version"
_RECORD: Final = "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)"


async def migrate_postgres(endpoint: PostgresEndpoint, progress: Progress) -> MigrationReport:
    """Bring the database to the schema of this release; run it as often as you like.

    Raises UnmetError when the database is newer, DamagedError when an applied file changed.
    """
    known = load_migrations("appliance.storage.postgres", "migrations")
    with postgres_errors():
        connection = await connect(
            endpoint.url,
            timeout_seconds=CONNECT_SECONDS_MAX,
            command_seconds_max=STATEMENT_SECONDS_MAX,
        )
        try:
            await connection.execute(
                "SELECT pg_advisory_lock($1)", LOCK_NUMBER, timeout=LOCK_SECONDS_MAX
            )
            await connection.execute(_LEDGER)
            applied = tuple(
                msgspec.convert(dict(row), Applied) for row in await connection.fetch(_APPLIED)
            )
            pending = plan_migrations("PostgreSQL", known, applied)
            for migration in pending:
                progress(migration.name)
                scope = connection.transaction()
                await scope.start()
                # a file of this package, not a value: literal although no type checker can see it
                await connection.execute(cast("LiteralString", migration.text))
                await connection.execute(
                    _RECORD, migration.version, migration.name, migration.checksum
                )
                await scope.commit()
        finally:
            await connection.close(timeout=CONNECT_SECONDS_MAX)
    return MigrationReport(
        store="postgres", applied=tuple(one.name for one in pending), version=len(known)
    )
