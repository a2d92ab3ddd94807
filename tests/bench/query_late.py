"""A site at work, for `scripts/bench query`: sessions were compacted, then events went on coming.

Invariant: the same late events in every run; they belong to sessions that were compacted before, so
each of these is read from the roll-up, as in life between two runs of the job (decision 0039).
"""

from typing import Final

from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.compacted_sessions import compact_project

LATE_EVENTS: Final = 250
"""A little more than what such a project gets in a minute: the most that the job leaves."""
LATE_BLOCK: Final = 1
"""The block of the late events; all others are of block 0."""

_LATE: Final = """
INSERT INTO events
SELECT * REPLACE (
    toUUID(replaceOne(toString(event_id), '-4000-8', '-4000-a')) AS event_id,
    occur_time + toIntervalSecond(1) AS occur_time,
    {block:Int64} AS insert_block
)
FROM
(
    SELECT * FROM events WHERE project_id = {project:String} AND insert_block = 0
    ORDER BY cityHash64(event_id) LIMIT {count:UInt32}
)
"""
_HAS_LATE: Final = """
SELECT count() FROM events WHERE project_id = {project:String} AND insert_block = {block:Int64}
"""


async def go_on(clickhouse: ClickHouse, project: str) -> None:
    """Compact the sessions of a project, then let late events come; once for a store."""
    values = {"project": project, "block": LATE_BLOCK, "count": LATE_EVENTS}
    ((late,),) = await clickhouse.rows(_HAS_LATE, values)
    if late:
        return
    assert await compact_project(clickhouse, project), "compacted sessions differ from the roll-up"
    await clickhouse.command(_LATE, values)
