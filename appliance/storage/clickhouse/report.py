"""The numbers of a project's weekly report.

Invariant: a week is any span of instants, so it can be a local one; what is counted is what the
dashboard counts: people without the cookieless [storage 3.1], sessions by start [storage 3.2].
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

from appliance.domain.report import Measure, Ranked, WeekNumbers
from appliance.storage.clickhouse.client import ClickHouse, Row, Setting

RANKS: Final = 5
_SETTINGS: Final[dict[str, Setting]] = {"max_execution_time": 120, "max_threads": 2}

_EVENTS: Final = """
SELECT
    countIf(is_week), countIf(NOT is_week),
    uniqIf(distinct_id, is_week AND is_known), uniqIf(distinct_id, NOT is_week AND is_known),
    countIf(is_week AND kind = 'page_view'), countIf(NOT is_week AND kind = 'page_view')
FROM (
    SELECT
        distinct_id, kind,
        occur_time >= {start:DateTime64(3, 'UTC')} AS is_week,
        NOT startsWith(distinct_id, 'cookieless-') AS is_known
    FROM events
    WHERE project_id = {project:String}
      AND occur_time >= {before:DateTime64(3, 'UTC')} AND occur_time < {end:DateTime64(3, 'UTC')}
)
"""
_SESSIONS: Final = """
SELECT
    countIf(begun >= {start:DateTime64(3, 'UTC')}), countIf(begun < {start:DateTime64(3, 'UTC')})
FROM (
    SELECT min(start_time) AS begun FROM dashboard_session_rollup
    WHERE project_id = {project:String} AND scope = ''
    GROUP BY session_id
    HAVING begun >= {before:DateTime64(3, 'UTC')} AND begun < {end:DateTime64(3, 'UTC')}
)
"""
_PAGES: Final = """
SELECT pathname, count() AS views FROM events
WHERE project_id = {project:String} AND kind = 'page_view' AND pathname != ''
  AND occur_time >= {start:DateTime64(3, 'UTC')} AND occur_time < {end:DateTime64(3, 'UTC')}
GROUP BY pathname ORDER BY views DESC, pathname LIMIT {ranks:UInt32}
"""
_SOURCES: Final = """
SELECT referrer_domain, uniq(distinct_id) AS people FROM events
WHERE project_id = {project:String} AND referrer_domain != ''
  AND NOT startsWith(distinct_id, 'cookieless-')
  AND occur_time >= {start:DateTime64(3, 'UTC')} AND occur_time < {end:DateTime64(3, 'UTC')}
GROUP BY referrer_domain ORDER BY people DESC, referrer_domain LIMIT {ranks:UInt32}
"""


async def load_week(
    store: ClickHouse, project_id: str, *, before: datetime, start: datetime, end: datetime
) -> WeekNumbers:
    """The week from `start` to `end`, and the one from `before` to `start` to compare with."""
    values = {
        "project": project_id,
        "before": before,
        "start": start,
        "end": end,
        "ranks": RANKS,
    }
    counts = [cast("int", one) for one in (await store.rows(_EVENTS, values, _SETTINGS))[0]]
    sessions = [cast("int", one) for one in (await store.rows(_SESSIONS, values, _SETTINGS))[0]]
    return WeekNumbers(
        events=Measure(week=counts[0], before=counts[1]),
        people=Measure(week=counts[2], before=counts[3]),
        sessions=Measure(week=sessions[0], before=sessions[1]),
        page_views=Measure(week=counts[4], before=counts[5]),
        pages=_ranked(await store.rows(_PAGES, values, _SETTINGS)),
        sources=_ranked(await store.rows(_SOURCES, values, _SETTINGS)),
    )


def _ranked(rows: Sequence[Row]) -> tuple[Ranked, ...]:
    return tuple(Ranked(name=str(name), count=cast("int", count)) for name, count in rows)
