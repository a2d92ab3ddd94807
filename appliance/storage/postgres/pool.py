"""Connections to PostgreSQL: few, bounded, made when first needed.

Invariant: making a `Postgres` touches no network, so a process starts while the database is down
and works once it is up; a broken connection is replaced by the next call. Errors are ours.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, LiteralString

from appliance.config.endpoints import PostgresEndpoint
from appliance.storage.postgres.driver import Connection, Pool, Record, create_pool
from appliance.storage.postgres.errors import postgres_errors

CONNECT_SECONDS_MAX: Final = 3
COMMAND_SECONDS_MAX: Final = 10.0
ACQUIRE_SECONDS_MAX: Final = 5.0
IDLE_SECONDS_MAX: Final = 300.0
CLOSE_SECONDS_MAX: Final = 5.0


class Transaction:
    """Statements that happen together or not at all."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: LiteralString, *values: object) -> str:
        """Run a statement; returns its command tag, such as "DELETE 1"."""
        with postgres_errors():
            return await self._connection.execute(statement, *values)

    async def rows(self, statement: LiteralString, *values: object) -> Sequence[Record]:
        """All rows of a statement."""
        with postgres_errors():
            return await self._connection.fetch(statement, *values)

    async def row(self, statement: LiteralString, *values: object) -> Record | None:
        """The first row, or None."""
        with postgres_errors():
            return await self._connection.fetchrow(statement, *values)


class Postgres:
    """The database of this process; close it once, last."""

    def __init__(self, endpoint: PostgresEndpoint) -> None:
        self._endpoint = endpoint
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()

    async def execute(self, statement: LiteralString, *values: object) -> str:
        """Run one statement in its own transaction."""
        async with self.transaction() as transaction:
            return await transaction.execute(statement, *values)

    async def rows(self, statement: LiteralString, *values: object) -> Sequence[Record]:
        """All rows of one statement."""
        async with self._connection() as connection:
            return await Transaction(connection).rows(statement, *values)

    async def row(self, statement: LiteralString, *values: object) -> Record | None:
        """The first row of one statement, or None."""
        async with self._connection() as connection:
            return await Transaction(connection).row(statement, *values)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """Statements that happen together or not at all; an error inside undoes all of them."""
        async with self._connection() as connection:
            with postgres_errors():
                scope = connection.transaction()
                await scope.start()
            try:
                yield Transaction(connection)
            except BaseException:
                if not connection.is_closed():
                    await scope.rollback()
                raise
            with postgres_errors():
                await scope.commit()

    async def ping(self) -> None:
        """Return when the database answers; raises UnavailableError or TimedOutError."""
        await self.row("SELECT 1")

    async def close(self) -> None:
        """End all connections, at the latest after five seconds."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()
        self._pool = None

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection]:
        pool = await self._opened()
        with postgres_errors():
            connection = await pool.acquire(timeout=ACQUIRE_SECONDS_MAX)
        try:
            yield connection
        finally:
            await pool.release(connection, timeout=CLOSE_SECONDS_MAX)

    async def _opened(self) -> Pool:
        async with self._opening:
            if self._pool is None:
                with postgres_errors():
                    self._pool = await create_pool(
                        self._endpoint.url,
                        size_max=self._endpoint.pool_size_max,
                        timeout_seconds=CONNECT_SECONDS_MAX,
                        command_seconds_max=COMMAND_SECONDS_MAX,
                        idle_seconds_max=IDLE_SECONDS_MAX,
                    )
            return self._pool
