"""Ask an expert's query of the rows of one project.

Invariant: five locks stand between a query and rows of others, and each holds without the others
(decision 0033): the text is one SELECT (`domain/expert_sql/text.py`), its tree names admitted
tables and functions only (`tree.py`), its tables are views of one project (`expert_views.py`),
every stored table is filtered by the engine (`additional_table_filters`), and `readonly = 1` lets
the query change none of that. What is looked at and what is executed are the same characters.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, LiteralString, cast

from msgspec import Struct
from msgspec.structs import replace

from appliance.base.errors import ApplianceError, MisconfiguredError
from appliance.config.endpoints import ClickHouseEndpoint
from appliance.domain.expert_sql.answers import Form, Scope
from appliance.domain.expert_sql.text import read_text
from appliance.domain.expert_sql.tree import check_tree
from appliance.storage.clickhouse.client import ClickHouse, Setting
from appliance.storage.clickhouse.expert_errors import explain_failure
from appliance.storage.clickhouse.expert_limits import (
    LOCKS,
    READ_ONLY_CHECK,
    SECONDS_MAX,
    query_settings,
)
from appliance.storage.clickhouse.expert_views import VIEWS, make_views, views_database

ANSWER_SECONDS_MAX: Final = SECONDS_MAX + 10

_FORMATS: Final[dict[Form, LiteralString]] = {
    Form.TABLE: "PrettyCompactMonoBlock",
    Form.CSV: "CSVWithNames",
    Form.JSON: "JSON",
    Form.JSONL: "JSONEachRow",
    Form.PARQUET: "Parquet",
}
_TREE: Final = "SELECT explain FROM (EXPLAIN QUERY TREE run_passes = 0\n<query>\n)"
KEPT_SETTINGS: Final = "SELECT name, value FROM system.settings WHERE name IN {names:Array(String)}"
"""What a server makes of the settings that a query is sent with."""
_TABLES: Final = frozenset(VIEWS)
_VIEWS_MISSING: Final = frozenset({"60", "81"})


class Admitted(Struct, frozen=True):
    """The text of a query that was looked at; only `ExpertSql.admit` makes one."""

    text: str


class ExpertSql:
    """The event store as experts see it; the views are made before the first query."""

    def __init__(self, endpoint: ClickHouseEndpoint) -> None:
        self._database = endpoint.database
        self._views = views_database(endpoint.database)
        self._owner = ClickHouse(endpoint)
        self._reader = ClickHouse(
            replace(endpoint, database=self._views), answer_seconds_max=ANSWER_SECONDS_MAX
        )
        self._preparing = asyncio.Lock()
        self._is_ready = False

    async def admit(self, sql: str) -> Admitted:
        """A query that may be executed.

        Raises InvalidInputError (`QUERY_REFUSED`, `QUERY_INVALID`) for one that may not.
        """
        text = read_text(sql)
        await self._prepare()
        printed = b"".join([piece async for piece in self._ask(_TREE, text, READ_ONLY_CHECK)])
        check_tree(printed.decode(errors="replace").split("\n"), _TABLES)
        return Admitted(text)

    @asynccontextmanager
    async def answer(
        self, scope: Scope, query: Admitted, form: Form
    ) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """The bytes of an answer, piece by piece; leaving early ends the query.

        Raises InvalidInputError (`QUERY_INVALID`), ExhaustedError, TimedOutError, UnavailableError.
        """
        settings = query_settings(self._database, scope)
        pieces = self._ask("<query>", query.text, settings, form=_FORMATS[form])
        try:
            yield pieces
        finally:
            await pieces.aclose()

    async def close(self) -> None:
        """End all connections."""
        await self._owner.close()
        await self._reader.close()

    async def _ask(
        self,
        frame: LiteralString,
        text: str,
        settings: Mapping[str, Setting],
        *,
        form: LiteralString = "TSVRaw",
    ) -> AsyncGenerator[bytes]:
        # The one statement of the appliance that a person wrote; what makes that safe is above.
        statement = cast("LiteralString", frame.replace("<query>", text))
        try:
            stream = self._reader.stream(statement, {}, settings, form=form)
            async for piece in stream:
                yield piece
        except ApplianceError as error:
            if error.fields.get("clickhouse_code") in _VIEWS_MISSING:
                self._is_ready = False  # as after a restore; the next query makes them again
            before = frame.partition("<query>")[0]
            told = explain_failure(
                error, text=text, before=before, inner=(self._views, self._database)
            )
            if told is error:
                raise
            raise told from error

    async def _prepare(self) -> None:
        """Make the views and see that the server keeps the locks, once in a process."""
        async with self._preparing:
            if self._is_ready:
                return
            await make_views(self._owner, self._database)
            settings = query_settings(self._database, Scope("nobody"))
            names = [*LOCKS, "log_comment", "additional_table_filters"]
            rows = await self._reader.rows(KEPT_SETTINGS, {"names": names}, settings)
            kept = {str(name): str(value) for name, value in rows}
            open_locks = [name for name in names if kept.get(name) != str(settings[name])]
            if open_locks:
                raise MisconfiguredError(
                    "QUERY_LOCKS_MISSING",
                    f"the event store does not keep {', '.join(open_locks)}",
                    hint="SQL for experts needs ClickHouse 25.8 or newer and an account that may"
                    " choose its settings",
                )
            self._is_ready = True
