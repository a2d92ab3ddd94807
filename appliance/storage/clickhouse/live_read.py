"""Who is there now.

Invariant: one statement over the newest minutes of one project, in the order of the table, so it
costs what these minutes hold and nothing else. People are counted as UNIQUE_USERS counts them,
one for each distinct id [insights 6], but exactly.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from appliance.domain.insights.spec import TimeRange
from appliance.domain.live import VISITOR_LINES_MAX, VISITOR_WINDOW_SECONDS, Line, Visitors
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.fragment import fill, finish, number_literal
from appliance.storage.clickhouse.insights.conditions import compile_window
from appliance.storage.clickhouse.insights.settings import INSIGHT

AHEAD_MS: Final = 60_000
"""Events of clocks that are fast by so much count as present."""
SECONDS_MAX: Final = 3
_SETTINGS: Final[Mapping[str, Setting]] = {
    **INSIGHT,
    "max_execution_time": SECONDS_MAX,
    "max_threads": 1,
    "max_memory_usage": 256 << 20,
}

_VISITORS: Final = """
WITH recent AS (SELECT distinct_id, pathname, country FROM events WHERE <window>)
SELECT 'all' AS part, '' AS value, toInt64(uniqExact(distinct_id)) AS visitors FROM recent
UNION ALL
SELECT 'page', pathname, toInt64(uniqExact(distinct_id)) AS visitors
FROM recent WHERE pathname != ''
GROUP BY pathname ORDER BY visitors DESC, pathname LIMIT <lines>
UNION ALL
SELECT 'country', toString(country), toInt64(uniqExact(distinct_id)) AS visitors
FROM recent WHERE country != ''
GROUP BY country ORDER BY visitors DESC, country LIMIT <lines>
"""


class LiveReader:
    """Counts people of one project at a time."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def visitors(self, project_id: str, *, now_ms: int) -> Visitors:
        """People with an event in the window that ends now, the busiest pages and countries.

        Raises UnavailableError, TimedOutError or ExhaustedError when the event store cannot.
        """
        window = TimeRange(
            start_ms=now_ms - VISITOR_WINDOW_SECONDS * 1000, end_ms=now_ms + AHEAD_MS
        )
        statement = fill(
            _VISITORS,
            window=compile_window(project_id, window),
            lines=number_literal(VISITOR_LINES_MAX),
        )
        rows = await ask(self._clickhouse, finish(statement, _SETTINGS))
        everybody = _lines(rows, "all")
        return Visitors(
            visitors=everybody[0].visitors if everybody else 0,
            pages=_lines(rows, "page"),
            countries=_lines(rows, "country"),
        )


def _lines(rows: Sequence[Row], part: str) -> tuple[Line, ...]:
    found = [
        Line(value=str(value), visitors=cast("int", visitors))
        for told, value, visitors in rows
        if told == part
    ]
    return tuple(sorted(found, key=lambda line: (-line.visitors, line.value)))
