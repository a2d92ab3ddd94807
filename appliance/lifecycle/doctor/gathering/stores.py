"""The two databases: whether they answer, and whether what they acknowledge is on disk.

Invariant: only questions of a fixed text that change nothing; each has an end. External stores are
asked whether they answer, and whether the way there is encrypted.
"""

import asyncio
from typing import Final, LiteralString
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from appliance.base.errors import ApplianceError, UnavailableError
from appliance.config.endpoints import ClickHouseEndpoint, PostgresEndpoint
from appliance.engines.http_door import HTTP_OK, http_get
from appliance.engines.postgres_driver import (
    NoSuchDatabaseError,
    PostgresConnection,
    RefusedError,
    postgres_connection,
)
from appliance.lifecycle.doctor.facts import StoresFacts
from appliance.lifecycle.doctor.gathering.probing import parse_pairs
from appliance.lifecycle.doctor.gathering.scene import Scene

_STORE_SECONDS_MAX: Final = 6.0
_DURABLE: Final = ("fsync", "full_page_writes")
_DURABLE_COMMITS: Final = frozenset({"on", "remote_apply", "remote_write", "local"})
_PLAIN_MODES: Final = frozenset({"", "disable", "allow", "prefer"})
_LOCAL_HOSTS: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})

_SETTINGS: Final[LiteralString] = """
SELECT string_agg(name || '=' || setting, ';') FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums',
    'max_connections')
"""
_STATE: Final[LiteralString] = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
    || ';' || (SELECT max(age(datfrozenxid)) FROM pg_database)
    || ';' || coalesce((SELECT max(extract(epoch FROM now() - xact_start))
        FROM pg_stat_activity WHERE backend_type = 'client backend'), 0)
"""
_HAS_JOBS: Final[LiteralString] = "SELECT to_regclass('job_runs')::text"
_JOBS: Final[LiteralString] = """
SELECT coalesce((SELECT max(expire_time) > now() FROM job_leases), false) || E'\n' || coalesce((
    SELECT string_agg(name || ': ' || left(replace(detail, E'\n', ' '), 150), E'\n' ORDER BY name)
    FROM (
        SELECT DISTINCT ON (name) name, outcome, detail FROM job_runs
        WHERE position(':' IN name) = 0 ORDER BY name, start_time DESC
    ) AS newest
    WHERE outcome = 'failed'
), '')
"""
_EVENTS: Final[LiteralString] = """
SELECT toInt64(sum(rows)), toInt64(sum(bytes_on_disk)) FROM system.parts
WHERE active AND database = currentDatabase() AND table = 'events'
FORMAT JSONCompactEachRow
"""
_WEEK: Final[LiteralString] = """
SELECT toInt64(count()) FROM events WHERE occur_time > now() - INTERVAL 7 DAY
FORMAT JSONCompactEachRow
"""
_FUTURE: Final[LiteralString] = """
SELECT toInt64(count()) FROM events WHERE occur_time > now() + INTERVAL 1 DAY
FORMAT JSONCompactEachRow
"""
_PARTS: Final[LiteralString] = """
SELECT toInt64(max(parts)) FROM (
    SELECT count() AS parts FROM system.parts WHERE active AND database = currentDatabase()
    GROUP BY table, partition
)
FORMAT JSONCompactEachRow
"""
_DEFINITION: Final[LiteralString] = """
SELECT position(create_table_query, 'fsync_after_insert = 1') > 0 FROM system.tables
WHERE database = currentDatabase() AND name = 'events'
FORMAT JSONCompactEachRow
"""
_WEEK_DAYS: Final = 7
_SAID_LETTERS_MAX: Final = 200


async def gather_stores(scene: Scene) -> StoresFacts:
    """Both databases at once."""
    facts = StoresFacts(
        postgres_external=scene.settings.postgres.url is not None,
        clickhouse_external=scene.settings.clickhouse.url is not None,
    )
    postgres, clickhouse = await asyncio.gather(_postgres(scene, facts), _clickhouse(scene, facts))
    return msgspec.structs.replace(
        postgres,
        **{
            field: getattr(clickhouse, field)
            for field in clickhouse.__struct_fields__
            if not field.startswith("postgres")
        },
    )


async def _postgres(scene: Scene, facts: StoresFacts) -> StoresFacts:
    try:
        endpoint = await scene.postgres()
        async with asyncio.timeout(_STORE_SECONDS_MAX):
            ssl = None if endpoint.external else False
            async with postgres_connection(endpoint.url.reveal(), ssl=ssl) as connection:
                return await _ask_postgres(connection, endpoint, facts)
    except TimeoutError:
        return msgspec.structs.replace(facts, postgres_error="it does not answer in time")
    except (NoSuchDatabaseError, RefusedError, OSError, ApplianceError) as error:
        return msgspec.structs.replace(facts, postgres_error=_said(error))


async def _ask_postgres(
    connection: PostgresConnection, endpoint: PostgresEndpoint, facts: StoresFacts
) -> StoresFacts:
    told = str(await connection.fetchval(_SETTINGS))
    chosen = parse_pairs(told.split(";"))
    unsafe = [f"{name} = {chosen[name]}" for name in _DURABLE if chosen.get(name) == "off"]
    commits = chosen.get("synchronous_commit", "on")
    if commits not in _DURABLE_COMMITS:
        unsafe.append(f"synchronous_commit = {commits}")
    if not endpoint.external and chosen.get("data_checksums") == "off":
        unsafe.append("data_checksums = off")
    connections, age, longest = str(await connection.fetchval(_STATE)).split(";")
    led, failed = await _ask_jobs(connection)
    return msgspec.structs.replace(
        facts,
        postgres_secure=_is_postgres_secure(endpoint),
        postgres_unsafe=tuple(unsafe),
        postgres_connections=int(connections),
        postgres_connections_max=int(chosen.get("max_connections", "0")),
        postgres_wraparound=int(age),
        postgres_longest_seconds=float(longest),
        postgres_jobs_led=led,
        postgres_jobs_failed=failed,
    )


async def _ask_jobs(connection: PostgresConnection) -> tuple[bool | None, tuple[str, ...]]:
    """Whether a scheduler leads, and the jobs whose newest run failed."""
    if await connection.fetchval(_HAS_JOBS) is None:
        return None, ()
    led, *failed = str(await connection.fetchval(_JOBS)).split("\n")
    return led == "true", tuple(filter(None, failed))


def _is_postgres_secure(endpoint: PostgresEndpoint) -> bool:
    if not endpoint.external:
        return True
    parts = urlsplit(endpoint.url.reveal())
    options = dict(parse_qsl(parts.query))
    host = parts.hostname or options.get("host", "")
    if host in _LOCAL_HOSTS or host.startswith("/"):
        return True
    return options.get("sslmode", "") not in _PLAIN_MODES


async def _clickhouse(scene: Scene, facts: StoresFacts) -> StoresFacts:
    try:
        endpoint = await scene.clickhouse()
        async with asyncio.timeout(_STORE_SECONDS_MAX):
            return await _ask_events(endpoint, facts)
    except TimeoutError:
        return msgspec.structs.replace(facts, clickhouse_error="it does not answer in time")
    except (OSError, EOFError, ApplianceError, ValueError) as error:
        return msgspec.structs.replace(facts, clickhouse_error=_said(error))


async def _ask_events(endpoint: ClickHouseEndpoint, facts: StoresFacts) -> StoresFacts:
    rows, size = await _numbers(endpoint, _EVENTS)
    synced = await _numbers(endpoint, _DEFINITION)
    facts = msgspec.structs.replace(
        facts,
        clickhouse_secure=not endpoint.external or endpoint.secure or endpoint.host in _LOCAL_HOSTS,
        clickhouse_unsafe=("fsync_after_insert = 0",) if synced == [0] else (),
        events=rows,
        event_bytes=size,
        parts_most=(await _numbers(endpoint, _PARTS))[0],
    )
    if not synced:
        return facts  # the schema is not there yet
    week = (await _numbers(endpoint, _WEEK))[0]
    return msgspec.structs.replace(
        facts,
        future_events=(await _numbers(endpoint, _FUTURE))[0],
        day_bytes=week * size // max(rows, 1) // _WEEK_DAYS,
    )


async def ask_events(endpoint: ClickHouseEndpoint, statement: LiteralString) -> str:
    """The answer of the event store, asked so that nothing can be changed (GET only reads).

    Raises UnavailableError or OSError when it refuses or is away; the caller bounds the time.
    """
    headers = {"X-ClickHouse-User": endpoint.user}
    if endpoint.password is not None:
        headers["X-ClickHouse-Key"] = endpoint.password.reveal()
    target = urlencode({"database": endpoint.database, "query": statement.strip()})
    answer = await http_get(
        endpoint.host, endpoint.port, f"/?{target}", headers=headers, secure=endpoint.secure
    )
    text = answer.body.decode("utf-8", "replace").strip()
    if answer.status != HTTP_OK:
        said = text.partition("\n")[0][:_SAID_LETTERS_MAX]
        raise UnavailableError("CLICKHOUSE_REFUSED", f"ClickHouse: {said}")
    return text


async def _numbers(endpoint: ClickHouseEndpoint, statement: LiteralString) -> list[int]:
    """The first row of an answer that has numbers only; empty without a row."""
    told = await ask_events(endpoint, statement)
    if not told:
        return []
    first: list[int | str] = msgspec.json.decode(told.splitlines()[0], type=list[int | str])
    return [int(value) for value in first]


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
