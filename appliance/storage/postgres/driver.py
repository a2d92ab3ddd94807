"""asyncpg, as far as we use it, with types: the driver ships none.

Invariant: the only module that calls asyncpg's constructors; the shapes below are what the others
may rely on.
"""

from collections.abc import Mapping, Sequence
from typing import LiteralString, Protocol, cast

import asyncpg

from appliance.config.secrets import Secret

Record = Mapping[str, object]


class Transaction(Protocol):
    """A transaction of a connection."""

    async def start(self) -> None: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


class Connection(Protocol):
    """A connection, pooled or alone."""

    async def execute(
        self,
        query: LiteralString,
        *args: object,
        timeout: float | None = None,  # noqa: ASYNC109 the driver's parameter
    ) -> str: ...

    async def fetch(self, query: LiteralString, *args: object) -> Sequence[Record]: ...

    async def fetchrow(self, query: LiteralString, *args: object) -> Record | None: ...

    def transaction(self) -> Transaction: ...

    def is_closed(self) -> bool: ...

    async def close(self, *, timeout: float | None = None) -> None: ...  # noqa: ASYNC109 the driver's parameter


class Pool(Protocol):
    """A bounded set of connections."""

    async def acquire(self, *, timeout: float) -> Connection: ...  # noqa: ASYNC109 the driver's parameter

    async def release(self, connection: Connection, *, timeout: float) -> None: ...  # noqa: ASYNC109 the driver's parameter

    async def close(self) -> None: ...

    def terminate(self) -> None: ...


async def connect(url: Secret, *, timeout_seconds: int, command_seconds_max: float) -> Connection:
    """One connection."""
    made = await asyncpg.connect(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] untyped driver
        url.reveal(), timeout=timeout_seconds, command_timeout=command_seconds_max
    )
    return cast("Connection", made)


async def create_pool(
    url: Secret,
    *,
    size_max: int,
    timeout_seconds: int,
    command_seconds_max: float,
    idle_seconds_max: float,
) -> Pool:
    """A pool that connects when first asked."""
    made = await asyncpg.create_pool(  # pyright: ignore[reportUnknownMemberType] untyped driver
        url.reveal(),
        min_size=0,
        max_size=size_max,
        timeout=timeout_seconds,
        command_timeout=command_seconds_max,
        max_inactive_connection_lifetime=idle_seconds_max,
    )
    return cast("Pool", made)
