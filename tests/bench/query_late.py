"""A site at work, for `scripts/bench query`: all was compacted, then events went on coming.

Invariant: the same late events in every run, all of the day that is not over. Their sessions were
compacted before, so each of these is read from the roll-up, as in life between two runs of the job
(decision 0039).
"""

import sys
import time
from datetime import date
from typing import Final

from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.compacted_sessions import compact_project
from appliance.storage.clickhouse.compacted_visitors import compact_visitors

TODAY: Final = date(2025, 5, 30)
"""The last day with events, which is not over."""

LATE_SESSIONS: Final = 84
"""What such a project has at once: with three events each a little more than comes in a minute, the
most that the job leaves. Events of a session are 20 seconds apart (`query_fill.py`)."""

LATE_OF_A_SESSION: Final = 3
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
    SELECT * FROM events
    WHERE project_id = {project:String} AND insert_block = 0 AND toDate(occur_time) = {today:Date}
    ORDER BY cityHash64(session_id), event_id
    LIMIT {of_a_session:UInt32} BY session_id
    LIMIT {count:UInt32}
)
"""
_HAS_LATE: Final = """
SELECT count() FROM events WHERE project_id = {project:String} AND insert_block = {block:Int64}
"""
_ROLLED_LATE: Final = """
SELECT count() FROM dashboard_session_rollup
WHERE project_id = {project:String} AND last_block = {block:Int64}
"""


async def go_on(clickhouse: ClickHouse, project: str) -> None:
    """Compact a project, then let late events come; once for a store."""
    values = {
        "project": project,
        "block": LATE_BLOCK,
        "today": TODAY,
        "of_a_session": LATE_OF_A_SESSION,
        "count": LATE_SESSIONS * LATE_OF_A_SESSION,
    }
    ((late,),) = await clickhouse.rows(_HAS_LATE, values)
    if late:
        return
    began = time.monotonic()
    assert await compact_project(clickhouse, project), "compacted sessions differ from the roll-up"
    sessions_done = time.monotonic()
    assert await compact_visitors(clickhouse, project, TODAY), "visitors differ from the roll-up"
    took = (sessions_done - began, time.monotonic() - sessions_done)
    print("compacted sessions in {:.1f} s, visitors in {:.1f} s".format(*took), file=sys.stderr)
    await clickhouse.command(_LATE, values)
    ((rolled,),) = await clickhouse.rows(_ROLLED_LATE, values)
    assert rolled, "no roll-up got the late events"
