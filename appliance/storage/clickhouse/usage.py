"""How many events each project has on each day, from the daily roll-up.

Invariant: days are UTC days of the events' own time, the days that charts show; the roll-up keeps
them, so nothing is read from the events themselves.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final, cast

from msgspec import Struct

from appliance.storage.clickhouse.client import ClickHouse, Setting

COUNT_SECONDS_MAX: Final = 60
_SETTINGS: Final[dict[str, Setting]] = {"max_execution_time": COUNT_SECONDS_MAX, "max_threads": 2}
_COUNT: Final = """
SELECT toString(project_id), toString(day), toInt64(sum(event_count))
FROM dashboard_event_rollup_daily
WHERE dimension = '$__total__' AND day >= toDate32({first:String})
  AND day <= toDate32({last:String})
GROUP BY project_id, day ORDER BY day, project_id
"""


class CountedDay(Struct, frozen=True):
    """Events of one project on one day."""

    project_id: str
    day: date
    events: int


async def count_events(store: ClickHouse, *, first: date, last: date) -> Sequence[CountedDay]:
    """Events of every project on each of these days, both included; days without any are left out.

    Raises UnavailableError.
    """
    values = {"first": first.isoformat(), "last": last.isoformat()}
    return [
        CountedDay(str(project_id), date.fromisoformat(str(day)), cast("int", events))
        for project_id, day, events in await store.rows(_COUNT, values, _SETTINGS)
    ]
