"""A picture of the event store that stands still: hard links made in an instant.

Invariant: a snapshot is a folder that an engine could be started on as it is: the definitions of
databases and tables, and every part the tables had at one moment. Parts never change, so links
suffice. Whoever asks for one has seen to it that no insert runs (decision 0012).
"""

import asyncio
import http.client
import shutil
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import msgspec

from appliance.base.errors import ApplianceError, UnavailableError
from appliance.base.files import unwritable
from appliance.base.tasks import poll
from appliance.config.endpoints import ClickHouseEndpoint

STORE: Final = "store"
"""The folder inside the engine's folder that chDB opens."""
PART_MARK: Final = "checksums.txt"
"""The file that every part has, and nothing else."""

_ANSWER_SECONDS_MAX: Final = 120
_REST_SECONDS_MAX: Final = 60.0
_REST_POLL_SECONDS: Final = 0.05
_MADE_AGAIN: Final = "compacted_"
"""Tables whose rows follow from others and need no copy: a restored engine finds them empty."""
_OUR_DATABASES: Final = "('system', 'INFORMATION_SCHEMA', 'information_schema')"

_TABLES: Final = f"""
SELECT database, name, toString(uuid) AS uuid
FROM system.tables
WHERE database NOT IN {_OUR_DATABASES} AND engine LIKE '%MergeTree' AND NOT is_temporary
    AND NOT startsWith(name, '{_MADE_AGAIN}')
ORDER BY database, name FORMAT JSONEachRow
"""  # noqa: S608 a constant
_COLUMNS: Final = f"""
SELECT database, table, name, type, is_in_sorting_key
FROM system.columns
WHERE database NOT IN {_OUR_DATABASES}
ORDER BY database, table, position FORMAT JSONEachRow
"""  # noqa: S608 a constant
_INSERTS: Final = f"""
SELECT count() FROM system.processes
WHERE query_kind = 'Insert' AND position(query, 'INSERT INTO {_MADE_AGAIN}') = 0
"""  # noqa: S608 a constant
_FREEZE: Final = "ALTER TABLE {database:Identifier}.{table:Identifier} FREEZE WITH NAME "
_SCHEMA: Final = "SELECT max(version) FROM schema_migrations"
_PASSING: Final = ("min", "max", "sum")
_MERGED: Final = ("uniq", "uniqExact")


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table whose rows are on disk."""

    database: str
    name: str
    uuid: str


class _Column(msgspec.Struct, frozen=True, kw_only=True):
    database: str
    table: str
    name: str
    type: str
    is_in_sorting_key: int


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A statement whose one answer depends on the rows and not on how they are merged."""

    subject: str
    statement: str


async def ask_clickhouse(endpoint: ClickHouseEndpoint, statement: str, **parameters: str) -> str:
    """The answer to one statement as tab-separated text.

    Raises UnavailableError when the engine refuses or is away.
    """
    return await asyncio.to_thread(_ask, endpoint, statement, parameters)


def _ask(endpoint: ClickHouseEndpoint, statement: str, parameters: dict[str, str]) -> str:
    values = {"database": endpoint.database}
    values |= {f"param_{name}": value for name, value in parameters.items()}
    headers = {"X-ClickHouse-User": endpoint.user}
    if endpoint.password is not None:
        headers["X-ClickHouse-Key"] = endpoint.password.reveal()
    door = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=_ANSWER_SECONDS_MAX)
    try:
        door.request("POST", f"/?{urlencode(values)}", statement.encode(), headers)
        answer = door.getresponse()
        body = answer.read().decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(
            "CLICKHOUSE_UNREADY", f"ClickHouse does not answer on port {endpoint.port}"
        ) from error
    finally:
        door.close()
    if answer.status != http.client.OK:
        raise UnavailableError(
            "CLICKHOUSE_REFUSED", f"ClickHouse: {body.splitlines()[0][:200] if body else '?'}"
        )
    return body


async def list_tables(endpoint: ClickHouseEndpoint) -> tuple[Table, ...]:
    """Every table with rows on disk."""
    lines = (await ask_clickhouse(endpoint, _TABLES)).encode()
    return tuple(msgspec.json.decode(line, type=Table) for line in lines.splitlines())


async def schema_number(endpoint: ClickHouseEndpoint) -> int:
    """The newest migration that was applied; 0 for none."""
    try:
        return int(await ask_clickhouse(endpoint, _SCHEMA))
    except (ApplianceError, ValueError):
        return 0


async def wait_for_inserts(endpoint: ClickHouseEndpoint) -> None:
    """Wait until no insert runs; one of a worker that was ended may still be at work.

    Raises UnavailableError when that takes too long.
    """

    async def at_rest() -> bool | None:
        return await ask_clickhouse(endpoint, _INSERTS) == "0" or None

    if not await poll(at_rest, every_seconds=_REST_POLL_SECONDS, timeout_seconds=_REST_SECONDS_MAX):
        raise UnavailableError("STORE_BUSY", "an insert into the event store does not end")


async def plan_questions(endpoint: ClickHouseEndpoint) -> tuple[Question, ...]:
    """What to ask before and after, made from the columns: counts, sums, extremes, id sets."""
    tables = await list_tables(endpoint)
    lines = (await ask_clickhouse(endpoint, _COLUMNS)).encode().splitlines()
    columns = [msgspec.json.decode(line, type=_Column) for line in lines]
    return tuple(
        _question(
            table,
            [one for one in columns if (one.database, one.table) == (table.database, table.name)],
        )
        for table in tables
    )


def _question(table: Table, columns: list[_Column]) -> Question:
    aggregated = [
        expression for column in columns if (expression := _merged_expression(column)) is not None
    ]
    if not aggregated:
        key = ", ".join(_quoted(one.name) for one in columns if one.is_in_sorting_key) or "1"
        aggregated = ["count()", f"sum(cityHash64({key}))"]
    named = f"{_quoted(table.database)}.{_quoted(table.name)}"
    return Question(
        subject=f"{table.database}.{table.name}",
        statement=f"SELECT {', '.join(aggregated)} FROM {named}",  # noqa: S608 names are quoted
    )


def _merged_expression(column: _Column) -> str | None:
    """How to sum up a column of states without depending on what is merged already."""
    kind, _, rest = column.type.partition("(")
    function = rest.partition(",")[0]
    if kind == "SimpleAggregateFunction" and function in _PASSING:
        return f"{function}({_quoted(column.name)})"
    if kind == "AggregateFunction" and function in _MERGED:
        return f"{function}Merge({_quoted(column.name)})"
    return None


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


async def freeze(
    endpoint: ClickHouseEndpoint, folder: Path, name: str
) -> tuple[Path, tuple[Table, ...]]:
    """Make a snapshot of the engine in `folder`; where it lies and which tables it has.

    Raises UnavailableError when the engine refuses, MisconfiguredError when links cannot be made.
    """
    assert name.isidentifier(), "the engine would escape another name"
    store = folder / STORE
    target = store / "shadow" / name
    tables = await list_tables(endpoint)
    for table in tables:
        await ask_clickhouse(
            endpoint, f"{_FREEZE}'{name}'", database=table.database, table=table.name
        )
    try:
        await asyncio.to_thread(_add_definitions, store, target)
    except OSError as error:
        raise unwritable(target, error) from error
    return target, tables


def _add_definitions(store: Path, target: Path) -> None:
    """Copy what says how databases and tables look, and which changes of rows are pending."""
    (target / "metadata").mkdir(parents=True, exist_ok=True)
    for entry in (store / "metadata").iterdir():
        if entry.name.partition(".")[0] == "system":
            continue
        copy = target / "metadata" / entry.name
        if entry.is_symlink():
            copy.symlink_to(entry.readlink())
        elif entry.is_file():
            shutil.copyfile(entry, copy)
    for pattern in ("*.sql", "format_version.txt", "mutation_*.txt"):
        for path in (store / STORE).glob(f"*/*/{pattern}"):
            copy = target / path.relative_to(store)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def find_snapshots(folder: Path, prefix: str) -> tuple[Path, ...]:
    """Snapshots in an engine's folder whose names begin so; left by somebody who was killed."""
    return tuple((folder / STORE / "shadow").glob(f"{prefix}*"))
