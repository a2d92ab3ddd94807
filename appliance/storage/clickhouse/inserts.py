"""Puts blocks of events into the event store, and tells what of a block is there already.

Invariant: one call is one statement, one engine block, one token. What is in the store is read from
the rows themselves, never from the engine's deduplication log: the log is written before the rows
appear and is not flushed, so after a crash it can name rows that never came and forget rows that
did (decision 0002).
"""

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Final, LiteralString, cast

from clickhouse_connect.driver.external import ExternalData

from appliance.domain.ingest.blocks import COOKIELESS_PREFIX, Identity, Row
from appliance.storage.clickhouse.client import ClickHouse, Setting


class Rollup(StrEnum):
    """The tables fed by inserts into `events`."""

    DAILY = "dashboard_event_rollup_daily"
    SESSIONS = "dashboard_session_rollup"
    ACTIVITY = "distinct_id_activity_states"
    NAMES = "event_names"
    PROPERTIES = "property_keys_event_buckets"


PRIORITY_ROWS: Final = 1
"""Questions, which have greater numbers, pause for what is done with rows (decision 0037)."""

INSERT_SETTINGS: Final[dict[str, Setting]] = {
    "priority": PRIORITY_ROWS,
    # a queue inside the engine would acknowledge before the rows are stored
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # one statement must be one block in every table: whether one row of it arrived then tells
    # whether all did
    "max_insert_threads": 1,
    "input_format_parallel_parsing": 0,
    "max_insert_block_size": 1_048_576,
    "min_insert_block_size_rows": 1_048_576,
    "min_insert_block_size_bytes": 1 << 30,
    "max_block_size": 1_048_576,
    # an event may be of any month; a block has at most as many parts as rows
    "max_partitions_per_insert_block": 0,
    # a block has no two rows of one event, and the feeds sum before they write: merging at insert
    # would sort for nothing
    "optimize_on_insert": 0,
    # compiling the feeds' expressions costs more than it saves at blocks of this size
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
}

LOOKUP_SETTINGS: Final[dict[str, Setting]] = {
    "max_threads": 1,
    "max_execution_time": 30,
    "priority": PRIORITY_ROWS,
}

_FIND_STORED: Final = """
SELECT DISTINCT
    project_id,
    substring(toString(date_trunc('minute', occur_time)), 1, 16),
    kind,
    toString(event_id)
FROM events
WHERE project_id IN (SELECT project FROM places)
  AND date_trunc('minute', occur_time) IN (SELECT minute FROM places)
  AND event_id IN (SELECT id FROM ids)
"""

_WITNESS: Final[dict[Rollup, LiteralString]] = {
    Rollup.DAILY: """
SELECT max(last_block) FROM dashboard_event_rollup_daily
WHERE project_id = {project:String} AND kind = {kind:String} AND dimension = '$__total__'
  AND day = toDate32(toDateTime64({time:String}, 3, 'UTC'))
""",
    # An erasure takes rows of a person out of these two, so one row of them proves nothing by its
    # absence: every subject of the block is asked about.
    Rollup.SESSIONS: """
SELECT max(last_block) FROM dashboard_session_rollup
WHERE (project_id, session_id) IN (SELECT project, session FROM subjects) AND scope = ''
""",
    Rollup.ACTIVITY: """
SELECT max(last_block) FROM distinct_id_activity_states
WHERE (project_id, distinct_id) IN (SELECT project, distinct FROM subjects)
""",
    Rollup.NAMES: """
SELECT max(last_block) FROM event_names
WHERE project_id = {project:String} AND kind = {kind:String}
""",
    Rollup.PROPERTIES: """
SELECT max(last_block) FROM property_keys_event_buckets
WHERE project_id = {project:String} AND kind = {kind:String}
  AND bucket = date_trunc('hour', toDateTime64({time:String}, 3, 'UTC'))
""",
}
_BY_SUBJECT: Final = frozenset({Rollup.SESSIONS, Rollup.ACTIVITY})
_RUNNING: Final = """
SELECT count() FROM system.processes
WHERE startsWith(Settings['insert_deduplication_token'], {prefix:String})
"""
_EMPTY_OBJECTS: Final = frozenset({b"", b"{}", b"null"})


class EventInserts:
    """Inserts and look-ups of the events worker."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    async def find_stored(self, identities: Collection[Identity]) -> set[Identity]:
        """Which of these events are in `events`."""
        if not identities:
            return set()
        # the three columns are three sets to the query, so each needs every value only once
        places = {(project, minute) for project, minute, _, _ in identities}
        minutes = "".join(f"{_tsv(project)}\t{minute}:00\n" for project, minute in places)
        ids = "\n".join([event_id for _, _, _, event_id in identities])
        wanted = ExternalData(
            file_name="places",
            data=minutes.encode(),
            fmt="TSV",
            structure="project String, minute DateTime64(0, 'UTC')",
        )
        wanted.add_file(file_name="ids", data=ids.encode(), fmt="TSV", structure="id UUID")
        answer = await self._store.rows(
            _FIND_STORED,
            settings=LOOKUP_SETTINGS,
            external=wanted,
        )
        found = {
            (str(project), str(minute), str(kind), str(event_id))
            for project, minute, kind, event_id in answer
        }
        return found.intersection(identities)

    async def insert_events(self, chunks: Iterable[bytes], *, token: str) -> None:
        """Insert rows into `events` and, through the feeds, into every roll-up.

        Raises InvalidInputError when a row cannot be read: then nothing was stored.
        """
        await self._store.insert_ndjson(
            "events", chunks, {**INSERT_SETTINGS, "insert_deduplication_token": token}
        )

    async def insert_repair(self, chunks: Iterable[bytes], *, token: str) -> None:
        """Send rows through the repair door to the roll-up named in their `repair_target`."""
        await self._store.insert_ndjson(
            "events_repair", chunks, {**INSERT_SETTINGS, "insert_deduplication_token": token}
        )

    async def check_readable(self, chunks: Iterable[bytes]) -> None:
        """Raise InvalidInputError when the engine cannot read these rows; stores nothing.

        The repair door reads like `events` and, without a target, feeds nothing.
        """
        await self._store.insert_ndjson("events_repair", chunks, INSERT_SETTINGS)

    async def find_unfed(self, number: int, rows: Sequence[Row]) -> tuple[Rollup, ...]:
        """The roll-ups that the block `number`, which inserts `rows`, has not reached.

        A block is one part of a roll-up, there or not, so a row of it is asked about; where rows
        can be erased, all of them: a roll-up that has none left counts nothing of the block, and
        feeding it again counts each event once. Numbers grow, and no later block is inserted before
        this one is done, so a newer number also means that it is there.
        """
        unfed: list[Rollup] = []
        subjects = _subjects(rows)
        for rollup, statement in _WITNESS.items():
            row = next((row for row in rows if _feeds(rollup, row)), None)
            if row is None:
                continue
            answer = await self._store.rows(
                statement,
                {
                    "project": row.project_id,
                    "kind": row.kind,
                    "time": row.occur_time,
                },
                LOOKUP_SETTINGS,
                subjects if rollup in _BY_SUBJECT else None,
            )
            if cast("int", answer[0][0]) < number:
                unfed.append(rollup)
        return tuple(unfed)

    async def count_running(self, token_prefix: str) -> int:
        """How many inserts under a token that starts so are still running."""
        answer = await self._store.rows(_RUNNING, {"prefix": token_prefix})
        return cast("int", answer[0][0])

    def fed_by(self, rows: Sequence[Row]) -> frozenset[Rollup]:
        """The roll-ups that these rows reach when they are inserted."""
        return frozenset(rollup for rollup in Rollup if any(_feeds(rollup, row) for row in rows))

    async def newest_block(self) -> int:
        """The highest block number in the store, 0 for an empty one."""
        answer = await self._store.rows("SELECT max(last_block) FROM event_names")
        return cast("int", answer[0][0])


def _feeds(rollup: Rollup, row: Row) -> bool:
    match rollup:
        case Rollup.ACTIVITY:
            return not row.distinct_id.startswith(COOKIELESS_PREFIX)
        case Rollup.PROPERTIES:
            return not (
                bytes(row.auto_properties) in _EMPTY_OBJECTS
                and bytes(row.custom_properties) in _EMPTY_OBJECTS
            )
        case Rollup.DAILY | Rollup.SESSIONS | Rollup.NAMES:
            return True


def _subjects(rows: Sequence[Row]) -> ExternalData:
    """Whose rows these are, as a table for a query."""
    found = {f"{_tsv(row.project_id)}\t{row.session_id}\t{_tsv(row.distinct_id)}\n" for row in rows}
    return ExternalData(
        file_name="subjects",
        data="".join(found).encode(),
        fmt="TSV",
        structure="project String, session UUID, distinct String",
    )


def _tsv(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
