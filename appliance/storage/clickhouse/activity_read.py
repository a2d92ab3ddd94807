"""Single events, newest first, and what one person did [dashboards 11 to 14].

Invariant: a search walks the table's own order backwards (project, minute) and stops when the page
is full, so a page costs what it shows. Sums come from the roll-up, which knows no cookieless ids;
for those they come from the events.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, LiteralString, cast

from appliance.domain.activity.answers import Day, StoredEvent
from appliance.domain.activity.search import EventSearch
from appliance.domain.cursors import Cursor
from appliance.domain.ingest.event import PropertyValue
from appliance.domain.ingest.promotion import ColumnValue, read_back
from appliance.domain.ingest.slots import untag
from appliance.domain.insights.spec import TimeRange
from appliance.domain.people.person import Activity, Identity
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.columns import COLUMNS
from appliance.storage.clickhouse.fragment import (
    Fragment,
    fill,
    finish,
    integer_value,
    literal,
    text_value,
)
from appliance.storage.clickhouse.insights.conditions import (
    PeopledReading,
    compile_condition,
    compile_window,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT
from appliance.storage.clickhouse.people_read import SUMMARY, compile_identity, read_activity

_COOKIELESS: Final = "cookieless-"
_PROMOTED: Final[LiteralString] = ", ".join(COLUMNS.values())
_NAMES: Final[tuple[str, ...]] = tuple(map(str, COLUMNS.values()))

_SEARCH: Final = """
SELECT
    toString(event_id), toString(kind), distinct_id, toUnixTimestamp64Milli(occur_time),
    toString(session_id), auto_properties, custom_properties, <promoted>
FROM events
WHERE project_id = <project> AND <who> AND <session> AND <window> AND <condition> AND <after>
ORDER BY date_trunc('minute', occur_time) DESC, occur_time DESC, event_id DESC
LIMIT <limit>
"""

_AFTER: Final = """occur_time <= fromUnixTimestamp64Milli(<time>, 'UTC')
    AND (occur_time, event_id) < (fromUnixTimestamp64Milli(<time>, 'UTC'), toUUID(<event>))"""

_DAYS: Final = """
SELECT intDiv(toUnixTimestamp64Milli(occur_time) - <floor>, 86400000) AS day, toInt64(count())
FROM events
WHERE <window> AND distinct_id IN <ids>
GROUP BY day
ORDER BY day
"""

_SUM: Final = """
SELECT '' AS person, <summary>
FROM distinct_id_activity_states
WHERE project_id = <project> AND distinct_id IN <ids>
HAVING events > 0
"""

_COOKIELESS_SUM: Final = """
SELECT
    '' AS person,
    toUnixTimestamp64Milli(min(occur_time)), toUnixTimestamp64Milli(max(occur_time)),
    toInt64(count()) AS events, toInt64(countIf(kind = 'page_view')), toInt64(uniq(session_id)),
    argMax(
        [browser, browser_version, os, os_version, device, country, region, city]::Array(String),
        (occur_time, event_id)
    )
FROM events
WHERE project_id = <project> AND distinct_id = <id>
HAVING events > 0
"""

_PAGE: Final[Mapping[str, Setting]] = {**INSIGHT, "optimize_read_in_order": 1}
_YEAR_ONE_MS: Final = -62_135_596_800_000
_YEAR_ONE_DAY: Final = date.min.toordinal()


class ActivityReader:
    """Events of one project at a time."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def search(
        self, project_id: str, search: EventSearch, who: Identity | str
    ) -> Sequence[StoredEvent]:
        """A page of events of a person, of one literal distinct id, or, for '', of everybody."""
        project = text_value(project_id)
        window = search.range
        statement = fill(
            _SEARCH,
            promoted=literal(_PROMOTED),
            project=project,
            who=_who(project_id, who),
            session=fill("session_id = toUUID(<session>)", session=text_value(search.session_id))
            if search.session_id
            else literal("true"),
            window=literal("true") if window is None else compile_window(project_id, window),
            condition=compile_condition(search.condition, PeopledReading(project_id)),
            after=_after(search.after),
            limit=integer_value(search.limit),
        )
        return [_event(row) for row in await ask(self._clickhouse, finish(statement, _PAGE))]

    async def days(self, project_id: str, who: Identity, window: TimeRange) -> Sequence[Day]:
        """Events of a person by UTC day, ascending; days without any are left out."""
        statement = fill(
            _DAYS,
            floor=integer_value(_YEAR_ONE_MS),
            window=compile_window(project_id, window),
            ids=compile_identity(project_id, who),
        )
        return [
            Day(day=date.fromordinal(_YEAR_ONE_DAY + cast("int", day)), events=cast("int", events))
            for day, events in await ask(self._clickhouse, finish(statement, INSIGHT))
        ]

    async def activity(self, project_id: str, who: Identity) -> Activity | None:
        """What a person did, over all of their ids; None without events."""
        if who.person_id.startswith(_COOKIELESS):
            statement = fill(
                _COOKIELESS_SUM, project=text_value(project_id), id=text_value(who.person_id)
            )
        else:
            statement = fill(
                _SUM,
                summary=literal(SUMMARY),
                project=text_value(project_id),
                ids=compile_identity(project_id, who),
            )
        rows = await ask(self._clickhouse, finish(statement, INSIGHT))
        return read_activity(rows[0][1:]) if rows else None


def _who(project_id: str, who: Identity | str) -> Fragment:
    if isinstance(who, Identity):
        return fill("distinct_id IN <ids>", ids=compile_identity(project_id, who))
    return fill("distinct_id = <id>", id=text_value(who)) if who else literal("true")


def _after(cursor: Cursor | None) -> Fragment:
    if cursor is None:
        return literal("true")
    return fill(_AFTER, time=integer_value(cursor.micros // 1000), event=text_value(cursor.id))


def _event(row: Row) -> StoredEvent:
    event_id, kind, distinct_id, occurred, session_id, auto, custom, *promoted = row
    values = cast("Sequence[ColumnValue]", promoted)
    columns: dict[str, ColumnValue] = dict(zip(_NAMES, values, strict=True))
    return StoredEvent(
        event_id=str(event_id),
        kind=str(kind),
        distinct_id=str(distinct_id),
        occur_ms=cast("int", occurred),
        session_id=str(session_id),
        auto=read_back(columns, _untagged(auto)),
        custom=_untagged(custom),
    )


def _untagged(slots: object) -> Mapping[str, PropertyValue]:
    return {key: untag(text) for key, text in cast("Mapping[str, str]", slots).items()}
