"""What of a person stands in the event store, and taking it away for good [profiles 9].

Invariant: a deletion is a mutation that rewrites the parts and is awaited, so when it returns no
query finds the rows and the bytes go with the old parts. Lists of ids come in groups that
`chunk_ids` made. Roll-ups do not follow deletions from `events`, so each is named here; what has no
key of a person stays [storage 3.7].
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, LiteralString, cast

from appliance.domain.people.erasure import Traces, chunk_ids, unite_ids
from appliance.storage.clickhouse.client import ClickHouse, Setting
from appliance.storage.clickhouse.compacted_sessions import drop_stale, forget_compacted

STATEMENT_SECONDS_MAX: Final = 240
"""How long the engine works on one statement; a client of erasures waits longer."""
_READS: Final[dict[str, Setting]] = {"max_execution_time": STATEMENT_SECONDS_MAX, "max_threads": 2}
_WRITES: Final[dict[str, Setting]] = {
    "mutations_sync": 2,
    # a mutation reads what it keeps; it need not be quick, but must not take the machine
    "max_threads": 2,
}
_ALIASES: Final = """
SELECT DISTINCT alias_id FROM profile_aliases
WHERE project_id = {project:String} AND profile_id IN {ids:Array(String)} ORDER BY alias_id
"""
_CANONICAL: Final = """
SELECT argMax(profile_id, version) FROM profile_aliases
WHERE project_id = {project:String} AND alias_id = {id:String}
GROUP BY alias_id
"""
_PROFILES: Final = """
SELECT DISTINCT id FROM profiles
WHERE project_id = {project:String} AND external_id = {external:String} ORDER BY id
"""
_SESSIONS: Final = """
SELECT DISTINCT toString(session_id) FROM events
WHERE project_id = {project:String} AND distinct_id IN {ids:Array(String)} ORDER BY 1
"""
_EVENTS: Final = """
SELECT count() FROM events
WHERE project_id = {project:String} AND distinct_id IN {ids:Array(String)}
"""
_ACTIVITY: Final = """
SELECT uniqExact(distinct_id) FROM distinct_id_activity_states
WHERE project_id = {project:String} AND distinct_id IN {ids:Array(String)}
"""
_ALIAS_ROWS: Final = """
SELECT uniqExact(alias_id, profile_id) FROM profile_aliases
WHERE project_id = {project:String} AND profile_id IN {ids:Array(String)}
"""
_PROFILE_ROWS: Final = """
SELECT uniqExact(id) FROM profiles
WHERE project_id = {project:String} AND id IN {ids:Array(String)}
"""
# Ids of sessions travel as one text: a list of quoted values would not fit a request line.
_SESSION_ROWS: Final = """
SELECT uniqExact(session_id) FROM dashboard_session_rollup
WHERE project_id = {project:String}
  AND session_id IN (SELECT toUUID(arrayJoin(splitByChar('.', {ids:String}))))
"""
_DROP_SESSIONS: Final = """
ALTER TABLE dashboard_session_rollup DELETE
WHERE project_id = {project:String}
  AND session_id IN (SELECT toUUID(arrayJoin(splitByChar('.', {ids:String}))))
"""
_DROP_EVENTS: Final = """
ALTER TABLE events DELETE
WHERE project_id = {project:String} AND distinct_id IN {ids:Array(String)}
"""
_DROP_ACTIVITY: Final = """
ALTER TABLE distinct_id_activity_states DELETE
WHERE project_id = {project:String} AND distinct_id IN {ids:Array(String)}
"""
_DROP_ALIASES: Final = """
ALTER TABLE profile_aliases DELETE
WHERE project_id = {project:String} AND profile_id IN {ids:Array(String)}
"""
_DROP_PROFILES: Final = """
ALTER TABLE profiles DELETE
WHERE project_id = {project:String} AND id IN {ids:Array(String)}
"""
DELETIONS: Final[tuple[tuple[LiteralString, LiteralString], ...]] = (
    (_EVENTS, _DROP_EVENTS),
    (_ACTIVITY, _DROP_ACTIVITY),
    (_ALIAS_ROWS, _DROP_ALIASES),
    (_PROFILE_ROWS, _DROP_PROFILES),
)
"""How to count and delete the rows of distinct ids, in the order of [profiles 9]."""


async def find_aliases(
    store: ClickHouse, project_id: str, profile_ids: Sequence[str]
) -> tuple[str, ...]:
    """Every alias that was ever recorded for these profiles, also those that moved on."""
    return await _texts(store, _ALIASES, project_id, profile_ids)


async def find_canonical(store: ClickHouse, project_id: str, alias_id: str) -> str:
    """The profile that an alias belongs to now; empty when it is none."""
    rows = await store.rows(_CANONICAL, {"project": project_id, "id": alias_id}, _READS)
    return str(rows[0][0]) if rows else ""


async def find_profiles_by_external(
    store: ClickHouse, project_id: str, external_id: str
) -> tuple[str, ...]:
    """Every profile id the read side ever had for an external id, also of deleted profiles."""
    if not external_id:
        return ()
    rows = await store.rows(_PROFILES, {"project": project_id, "external": external_id}, _READS)
    return tuple(str(one) for (one,) in rows)


async def find_sessions(store: ClickHouse, project_id: str, ids: Sequence[str]) -> tuple[str, ...]:
    """The sessions of every event of these ids."""
    return await _texts(store, _SESSIONS, project_id, ids)


async def count_events(store: ClickHouse, project_id: str, ids: Sequence[str]) -> int:
    """How many rows of events these ids have."""
    return await _count(store, _EVENTS, project_id, ids)


async def has_activity(store: ClickHouse, project_id: str, distinct_id: str) -> bool:
    """Whether the activity roll-up knows this id; it never knows cookieless ones."""
    return await _count(store, _ACTIVITY, project_id, (distinct_id,)) > 0


async def count_traces(
    store: ClickHouse, project_id: str, ids: Sequence[str], session_ids: Sequence[str]
) -> Traces:
    """What the event store holds of a person."""
    sessions = 0
    for group in chunk_ids(session_ids):
        values: dict[str, object] = {"project": project_id, "ids": ".".join(group)}
        sessions += await _number(store, _SESSION_ROWS, values)
    return Traces(
        events=await _count(store, _EVENTS, project_id, ids),
        session_rollups=sessions,
        activity=await _count(store, _ACTIVITY, project_id, ids),
        aliases=await _count(store, _ALIAS_ROWS, project_id, ids),
        read_profiles=await _count(store, _PROFILE_ROWS, project_id, ids),
    )


async def delete_person(
    store: ClickHouse, project_id: str, ids: Sequence[str], session_ids: Sequence[str]
) -> AsyncGenerator[int]:
    """Delete everything of a person; yields after each statement, how many rows it was about.

    Where there is nothing to delete nothing is rewritten: a mutation looks at every part. Compacted
    sessions are forgotten before, so that a pass which began earlier brings none back, and after.
    """
    if session_ids:
        await forget_compacted(store, project_id)
    for group in chunk_ids(session_ids):
        values: dict[str, object] = {"project": project_id, "ids": ".".join(group)}
        count = await _number(store, _SESSION_ROWS, values)
        if count:
            await store.command(_DROP_SESSIONS, values, _WRITES)
            yield count
    if session_ids:
        await forget_compacted(store, project_id)
        await drop_stale(store, project_id)
    for look, drop in DELETIONS:
        for group in chunk_ids(ids):
            values = {"project": project_id, "ids": list(group)}
            count = await _number(store, look, values)
            if count:
                await store.command(drop, values, _WRITES)
                yield count


async def _texts(
    store: ClickHouse, statement: LiteralString, project_id: str, ids: Sequence[str]
) -> tuple[str, ...]:
    found: list[str] = []
    for group in chunk_ids(ids):
        values = {"project": project_id, "ids": list(group)}
        found += [str(one) for (one,) in await store.rows(statement, values, _READS)]
    return unite_ids(found)


async def _count(
    store: ClickHouse, statement: LiteralString, project_id: str, ids: Sequence[str]
) -> int:
    total = 0
    for group in chunk_ids(ids):
        total += await _number(store, statement, {"project": project_id, "ids": list(group)})
    return total


async def _number(store: ClickHouse, statement: LiteralString, values: dict[str, object]) -> int:
    return cast("int", (await store.rows(statement, values, _READS))[0][0])
