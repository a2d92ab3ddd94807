"""A picture of the relational store: a dump of one moment, a file for each table.

Invariant: counts and check sums are read in the very transaction whose snapshot the dump uses, so
they can be compared after a restore. The programs are those of the bundle; the password reaches
them in a file.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from appliance.base.errors import UnavailableError
from appliance.base.files import PRIVATE_FILE
from appliance.config.endpoints import PostgresEndpoint
from appliance.engines.postgres_driver import (
    NoSuchDatabaseError,
    PostgresConnection,
    RefusedError,
    postgres_connection,
)
from appliance.supervisor.program import run_program
from appliance.supervisor.spec import ProcessSpec

TABLE_OF_CONTENTS: Final = "toc.dat"
PROGRAM_SECONDS_MAX: Final = 3600.0
_COMMAND_SECONDS_MAX: Final = 600  # a check sum reads the whole table

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TEXT_FORMS: Final = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET extra_float_digits = 1"
_EXPORT: Final = "SELECT pg_export_snapshot()"
_TABLES: Final = """
SELECT coalesce(string_agg(format('%I.%I', schemaname, tablename), E'\\n'
    ORDER BY schemaname, tablename), '')
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""
_SCHEMA_KNOWN: Final = "SELECT to_regclass('public.schema_migrations') IS NOT NULL"
_SCHEMA: Final = "SELECT coalesce(max(version), 0)::int FROM public.schema_migrations"
_SUM_ROWS: Final = """
SELECT count(*)::text || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0)::text
FROM quoted_name AS t
"""


class TableFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows a table has, and a sum over what they say."""

    name: str
    facts: str


class PostgresFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot of the relational store has."""

    schema: int
    tables: tuple[TableFacts, ...]


async def read_facts(endpoint: PostgresEndpoint) -> PostgresFacts:
    """Counts and check sums as they are now; raises UnavailableError."""
    async with _moment(endpoint) as connection:
        return await _facts(connection)


async def dump_postgres(
    endpoint: PostgresEndpoint, target: Path, *, home: Path, work: Path
) -> PostgresFacts:
    """Dump the database into the folder `target`, which must not exist; what is in it.

    Raises UnavailableError when the server or the program fails.
    """
    async with _moment(endpoint) as connection:
        snapshot = await connection.fetchval(_EXPORT)
        facts = await _facts(connection)
        await _run(
            endpoint,
            (
                str(home / "bin" / "pg_dump"),
                "--format=directory",
                "--compress=none",
                "--no-owner",
                "--no-privileges",
                "--no-sync",
                f"--snapshot={snapshot}",
                f"--file={target}",
            ),
            work,
        )
    return facts


async def load_postgres(
    endpoint: PostgresEndpoint, source: Path, *, home: Path, work: Path
) -> None:
    """Load a dump into an empty database; raises UnavailableError when the program fails."""
    await _run(
        endpoint,
        (
            str(home / "bin" / "pg_restore"),
            "--no-owner",
            "--no-privileges",
            "--exit-on-error",
            "--single-transaction",
            str(source),
        ),
        work,
    )


async def name_dump_files(source: Path, *, home: Path) -> dict[str, str]:
    """Which table each data file of a dump belongs to."""
    listing = await run_program(
        ProcessSpec(
            name="pg_restore", argv=(str(home / "bin" / "pg_restore"), "--list", str(source))
        ),
        timeout_seconds=PROGRAM_SECONDS_MAX,
    )
    named: dict[str, str] = {}
    for line in listing.splitlines():
        number, _, rest = line.partition(";")
        words = rest.split()
        if words[2:4] == ["TABLE", "DATA"]:
            named[f"{number}.dat"] = f"{words[4]}.{words[5]}"
    return named


@asynccontextmanager
async def _moment(endpoint: PostgresEndpoint) -> AsyncGenerator[PostgresConnection]:
    try:
        async with postgres_connection(
            endpoint.url.reveal(), command_seconds=_COMMAND_SECONDS_MAX
        ) as connection:
            await connection.execute(_TEXT_FORMS)
            await connection.execute(_BEGIN)
            yield connection
    except (OSError, TimeoutError, NoSuchDatabaseError, RefusedError) as error:
        raise UnavailableError(
            "POSTGRES_UNREADY",
            f"PostgreSQL does not answer: {error or type(error).__name__}",
            hint="see `pug-appliance status`, then try again",
        ) from error


async def _facts(connection: PostgresConnection) -> PostgresFacts:
    listed = str(await connection.fetchval(_TABLES))
    schema = 0
    if await connection.fetchval(_SCHEMA_KNOWN):
        schema = int(str(await connection.fetchval(_SCHEMA)))
    tables = [
        TableFacts(name=name, facts=str(await connection.fetchval(_sum_statement(name))))
        for name in listed.splitlines()
    ]
    return PostgresFacts(schema=schema, tables=tuple(tables))


def _sum_statement(quoted_name: str) -> str:
    return _SUM_ROWS.replace("quoted_name", quoted_name)  # the server itself quoted the name


async def _run(endpoint: PostgresEndpoint, argv: tuple[str, ...], work: Path) -> None:
    """Run a program of PostgreSQL; the password lies in a file of its own meanwhile."""
    parts = urlsplit(endpoint.url.reveal())
    password = unquote(parts.password or "")
    name = parts.netloc.rpartition("@")[2]
    place = f"{parts.username}@{name}" if parts.username else name
    url = urlunsplit(parts._replace(netloc=place))
    word = work / "pgpass"
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    try:
        descriptor = os.open(word, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"*:*:*:*:{escaped}\n")
        await run_program(
            ProcessSpec(
                name=Path(argv[0]).name,
                argv=(argv[0], f"--dbname={url}", *argv[1:]),
                environment={"PGPASSFILE": str(word)},
                directory=work,
            ),
            timeout_seconds=PROGRAM_SECONDS_MAX,
        )
    except OSError as error:
        raise UnavailableError(
            "PROGRAM_FAILED", f"{Path(argv[0]).name} cannot be run: {error.strerror or error}"
        ) from error
    finally:
        word.unlink(missing_ok=True)
