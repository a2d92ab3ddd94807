"""The event store over HTTP: one pooled client a process, opened when first needed.

Invariant: an insert is sent exactly once. Its body is an async generator, which the driver cannot
replay, because a silent second try would hide that the first one's outcome is unknown, and the
events worker decides by that (decision 0002). Errors are ours (`errors.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, LiteralString, cast

from clickhouse_connect.driver import create_async_client  # pyright: ignore[reportUnknownVariableType] half-typed driver
from clickhouse_connect.driver.external import ExternalData

from appliance.config.endpoints import ClickHouseEndpoint
from appliance.storage.clickhouse.errors import clickhouse_errors

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

CONNECT_SECONDS_MAX: Final = 3
ANSWER_SECONDS_MAX: Final = 60
CONNECTIONS_MAX: Final = 16
CLOSE_SECONDS_MAX: Final = 5.0

Setting = str | int | float | bool
Row = tuple[object, ...]


class ClickHouse:
    """The event store of this process; making one touches no network."""

    def __init__(
        self, endpoint: ClickHouseEndpoint, *, answer_seconds_max: int = ANSWER_SECONDS_MAX
    ) -> None:
        self._endpoint = endpoint
        self._answer_seconds_max = answer_seconds_max
        self._client: AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def rows(
        self,
        statement: LiteralString,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, Setting] | None = None,
        external: ExternalData | None = None,
    ) -> Sequence[Row]:
        """The rows of a query; values travel as `{name:Type}` parameters, sets as `external`."""
        client = await self._opened()
        with clickhouse_errors():
            answer = await client.query(  # pyright: ignore[reportUnknownMemberType] half-typed driver
                statement,
                parameters=dict(parameters or {}),
                settings=dict(settings or {}),
                external_data=external,
            )
            return cast("Sequence[Row]", answer.result_rows)

    async def command(
        self,
        statement: LiteralString,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, Setting] | None = None,
    ) -> None:
        """Run a statement that answers nothing."""
        client = await self._opened()
        with clickhouse_errors():
            await client.command(  # pyright: ignore[reportUnknownMemberType] half-typed driver
                statement, parameters=dict(parameters or {}), settings=dict(settings or {})
            )

    async def insert_ndjson(
        self, table: LiteralString, chunks: Iterable[bytes], settings: Mapping[str, Setting]
    ) -> None:
        """Insert rows, one JSON object a line, in one statement that is never repeated.

        Raises InvalidInputError when a row cannot be read; any other error leaves the outcome
        unknown.
        """
        client = await self._opened()
        with clickhouse_errors():
            await client.raw_insert(  # pyright: ignore[reportUnknownMemberType] half-typed driver
                table, insert_block=_stream(chunks), settings=dict(settings), fmt="JSONEachRow"
            )

    async def stream(
        self,
        statement: LiteralString,
        parameters: Mapping[str, object],
        settings: Mapping[str, Setting],
        *,
        form: LiteralString,
    ) -> AsyncIterator[bytes]:
        """The answer of a query in a format of the engine, piece by piece, held nowhere.

        Raises UnavailableError when it ends before it is complete.
        """
        client = await self._opened()
        with clickhouse_errors():
            answer = await client.raw_stream(  # pyright: ignore[reportUnknownMemberType] half-typed driver
                statement, parameters=dict(parameters), settings=dict(settings), fmt=form
            )
            async with answer as pieces:
                async for piece in cast("AsyncIterator[bytes]", pieces):
                    yield piece

    async def ping(self) -> None:
        """Return when the event store answers a query."""
        await self.rows("SELECT 1")

    async def close(self) -> None:
        """End all connections."""
        client, self._client = self._client, None
        if client is not None:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await client.close()

    async def _opened(self) -> "AsyncClient":
        async with self._opening:
            if self._client is None:
                endpoint = self._endpoint
                with clickhouse_errors():
                    self._client = await create_async_client(
                        host=endpoint.host,
                        port=endpoint.port,
                        username=endpoint.user,
                        password=endpoint.password.reveal() if endpoint.password else "",
                        database=endpoint.database,
                        secure=endpoint.secure,
                        connect_timeout=CONNECT_SECONDS_MAX,
                        send_receive_timeout=self._answer_seconds_max,
                        connector_limit=CONNECTIONS_MAX,
                        connector_limit_per_host=CONNECTIONS_MAX,
                        query_retries=1,
                        autogenerate_session_id=False,
                        compress=False,
                    )
            return self._client


async def _stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
