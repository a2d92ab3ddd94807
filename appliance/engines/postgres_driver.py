"""The few calls of asyncpg that the supervisor makes, with types.

Invariant: this is the only module of the machine half that imports asyncpg; its errors that mean
"no" are named here, the others become UnavailableError.
"""

from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Final, Protocol, cast

import asyncpg

from appliance.base.errors import UnavailableError

CONNECT_SECONDS_MAX: Final = 4
COMMAND_SECONDS_MAX: Final = 20

NoSuchDatabaseError = asyncpg.InvalidCatalogNameError
RefusedError = asyncpg.InvalidAuthorizationSpecificationError


class PostgresConnection(Protocol):
    """What is used of a connection."""

    async def fetchval(self, query: str, *values: object) -> object:
        """The first column of the first row."""
        ...

    async def execute(self, query: str) -> str:
        """Run a statement."""
        ...

    async def close(self) -> None:
        """End the session."""
        ...


class _Connect(Protocol):
    def __call__(
        self, dsn: str, *, ssl: bool | None, timeout: int, command_timeout: int
    ) -> Awaitable[PostgresConnection]: ...


_connect = cast("_Connect", asyncpg.connect)


@asynccontextmanager
async def postgres_connection(
    url: str, *, ssl: bool | None = None, command_seconds: int = COMMAND_SECONDS_MAX
) -> AsyncGenerator[PostgresConnection]:
    """One session for the length of a block; `ssl` of None lets the URL decide.

    Raises NoSuchDatabaseError, RefusedError, OSError and TimeoutError as the driver does, and
    UnavailableError for everything else that goes wrong.
    """
    try:
        connection = await _connect(
            url, ssl=ssl, timeout=CONNECT_SECONDS_MAX, command_timeout=command_seconds
        )
        try:
            yield connection
        finally:
            await connection.close()
    except (NoSuchDatabaseError, RefusedError):
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise UnavailableError("POSTGRES_UNREADY", f"PostgreSQL: {error}") from error
