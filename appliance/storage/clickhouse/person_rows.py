"""What the event store has about a person beside the events themselves, as lines of JSON.

Invariant: the tables are those of `erasure.py`; the events are streamed by `event_export.py`.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, LiteralString

from appliance.domain.people.erasure import chunk_ids
from appliance.storage.clickhouse.client import ClickHouse, Setting

_SETTINGS: Final[dict[str, Setting]] = {
    "max_execution_time": 240,
    "max_threads": 2,
    "output_format_json_quote_64bit_integers": 0,
}
_BY_ID: Final[tuple[LiteralString, ...]] = (
    """
SELECT 'shown profile' AS record, id, external_id, properties, deleted, create_time, update_time
FROM profiles FINAL WHERE project_id = {project:String} AND id IN {ids:Array(String)} ORDER BY id
""",
    """
SELECT 'alias' AS record, alias_id, profile_id, external_id FROM profile_aliases FINAL
WHERE project_id = {project:String} AND profile_id IN {ids:Array(String)} ORDER BY alias_id
""",
    """
SELECT 'activity' AS record, distinct_id, min(first_time) AS first_seen,
    max(last_time) AS last_seen,
    sum(event_count) AS events, sum(page_view_count) AS page_views
FROM distinct_id_activity_states
WHERE project_id = {project:String} AND distinct_id IN {ids:Array(String)}
GROUP BY distinct_id ORDER BY distinct_id
""",
)
_BY_SESSION: Final = """
SELECT 'session' AS record, toString(session_id) AS session_id, min(start_time) AS start,
    max(end_time) AS end, sum(event_count) AS events
FROM dashboard_session_rollup
WHERE project_id = {project:String} AND scope = ''
  AND session_id IN (SELECT toUUID(arrayJoin(splitByChar('.', {ids:String}))))
GROUP BY session_id ORDER BY start, session_id
"""


async def stream_person_rows(
    store: ClickHouse, project_id: str, ids: Sequence[str], session_ids: Sequence[str]
) -> AsyncGenerator[bytes]:
    """Bytes of lines, one for each profile shown, alias, activity and session."""
    for statement in _BY_ID:
        for group in chunk_ids(ids):
            values = {"project": project_id, "ids": list(group)}
            async for piece in store.stream(statement, values, _SETTINGS, form="JSONEachRow"):
                yield piece
    for group in chunk_ids(session_ids):
        values = {"project": project_id, "ids": ".".join(group)}
        async for piece in store.stream(_BY_SESSION, values, _SETTINGS, form="JSONEachRow"):
            yield piece
