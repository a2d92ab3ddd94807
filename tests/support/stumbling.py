"""An event store where something happens before one of the writes of a pass that compacts.

Invariant: only what a pass writes in its epoch counts as a write, not the beginning of a new one.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import LiteralString

import pytest

from appliance.base.errors import UnavailableError
from appliance.config.endpoints import ClickHouseEndpoint
from appliance.storage.clickhouse.client import ClickHouse, Setting


class Stumbling(ClickHouse):
    """Does something before the n-th write into a table; it may raise."""

    def __init__(
        self,
        endpoint: ClickHouseEndpoint,
        table: str,
        before: Callable[[], Awaitable[None]],
        nth: int = 1,
    ) -> None:
        super().__init__(endpoint)
        self._start = f"INSERT INTO {table} "
        self._before = before
        self._left = nth

    async def command(
        self,
        statement: LiteralString,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, Setting] | None = None,
    ) -> None:
        if statement.strip().startswith(self._start) and "{epoch:UInt64}" in statement:
            self._left -= 1
            if self._left == 0:
                await self._before()
        await super().command(statement, parameters, settings)


async def die_before(
    endpoint: ClickHouseEndpoint,
    table: str,
    run: Callable[[ClickHouse], Awaitable[object]],
    nth: int = 1,
) -> None:
    """Run something that is killed right before its n-th write into a table."""

    async def die() -> None:
        raise UnavailableError("CLICKHOUSE_AWAY", "killed")

    dying = Stumbling(endpoint, table, die, nth)
    try:
        with pytest.raises(UnavailableError):
            await run(dying)
    finally:
        await dying.close()
