"""Which kinds, keys and values a project has [insights 17].

Invariant: kinds and keys come from the roll-ups, which every insert feeds, so they are known at
once and late events count; only values and the keys of profiles are read from the rows themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, cast

from appliance.domain.discovery.keys import (
    EVENT_NAMES_MAX,
    VALUES_MAX,
    EventName,
    Key,
    Seen,
    ValueType,
)
from appliance.domain.insights.dimensions import CustomProperty, resolve_property
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.columns import TOTAL_DIMENSION, text_form
from appliance.storage.clickhouse.fragment import (
    Fragment,
    fill,
    finish,
    integer_value,
    literal,
    text_value,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT
from appliance.storage.clickhouse.traits import trait_text

KEYS_READ_MAX: Final = 10_000
"""Keys of one source that are looked at; a project with more has a fault in its tracking."""

_EVENTS: Final = """
SELECT toString(kind), toInt64(sum(event_count)) AS number, toUnixTimestamp64Milli(max(last_time))
FROM event_names WHERE project_id = <project>
GROUP BY kind ORDER BY number DESC, kind LIMIT <limit>
"""

_KEYS: Final = """
SELECT
    key, argMin(toString(value_type), (bucket, last_time)), toInt64(sum(event_count)) AS number,
    toUnixTimestamp64Milli(max(last_time))
FROM property_keys_event_buckets
WHERE project_id = <project> AND source = <source> AND <kind>
GROUP BY key ORDER BY number DESC, key LIMIT <limit>
"""

_PROMOTED: Final = """
SELECT toString(dimension), toInt64(sum(event_count)), toInt64(max(day)) * 86400000
FROM dashboard_event_rollup_daily
WHERE project_id = <project> AND dimension != <total> AND value != '' AND <kind>
GROUP BY dimension
"""

_PROFILE_KEYS: Final = """
SELECT
    path.1 AS key, argMin(path.2, update_time), toInt64(count()) AS number,
    intDiv(toUnixTimestamp64Micro(max(update_time)), 1000)
FROM profiles FINAL
ARRAY JOIN CAST(
    JSONAllPathsWithTypes(CAST(properties, 'JSON(max_dynamic_paths=0)')),
    'Array(Tuple(String, String))'
) AS path
WHERE project_id = <project> AND NOT deleted AND key != ''
GROUP BY key ORDER BY number DESC, key LIMIT <limit>
"""

_EVENT_VALUES: Final = """
SELECT DISTINCT <text> AS found FROM events
WHERE project_id = <project> AND <kind> AND found != ''
    AND occur_time >= fromUnixTimestamp64Milli(<since>, 'UTC')
LIMIT <limit>
"""

_PROFILE_VALUES: Final = """
SELECT DISTINCT <text> AS found FROM profiles FINAL
WHERE project_id = <project> AND NOT deleted AND found != ''
LIMIT <limit>
"""

_TYPES: Final = {
    "s": ValueType.STRING,
    "i": ValueType.INTEGER,
    "d": ValueType.FLOAT,
    "b": ValueType.BOOLEAN,
    "t": ValueType.DATETIME,
    "String": ValueType.STRING,
    "Int64": ValueType.INTEGER,
    "UInt64": ValueType.INTEGER,
    "Float64": ValueType.FLOAT,
    "Bool": ValueType.BOOLEAN,
}
"""Tags of slots (decision 0001), and the types that the engine sees in JSON."""

_PLAIN_JSON: Final[Mapping[str, Setting]] = {
    **INSIGHT,
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    "type_json_skip_duplicated_paths": 1,
}


class DiscoveryReader:
    """What a project has, one question at a time."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def events(self, project_id: str) -> Sequence[EventName]:
        """Kinds, most frequent first."""
        rows = await self._rows(
            fill(_EVENTS, project=text_value(project_id), limit=integer_value(EVENT_NAMES_MAX))
        )
        return [
            EventName(name=str(name), count=cast("int", count), last_ms=cast("int", last))
            for name, count, last in rows
        ]

    async def event_keys(self, project_id: str, source: LiteralString, kind: str) -> Sequence[Key]:
        """Keys of the map `auto` or `custom`, most frequent first; of one kind, if one is named."""
        rows = await self._rows(
            fill(
                _KEYS,
                project=text_value(project_id),
                source=text_value(source),
                kind=_kind(kind),
                limit=integer_value(KEYS_READ_MAX),
            )
        )
        return list(map(_key, rows))

    async def profile_keys(self, project_id: str) -> Sequence[Key]:
        """Keys of profiles, dots leading into nested objects, most frequent first."""
        question = fill(
            _PROFILE_KEYS, project=text_value(project_id), limit=integer_value(KEYS_READ_MAX)
        )
        return list(map(_key, await self._rows(question, _PLAIN_JSON)))

    async def promoted(self, project_id: str, kind: str) -> Mapping[str, Seen]:
        """How often each dimension of the daily roll-up had a value."""
        rows = await self._rows(
            fill(
                _PROMOTED,
                project=text_value(project_id),
                total=text_value(TOTAL_DIMENSION),
                kind=_kind(kind),
            )
        )
        return {
            str(name): Seen(count=cast("int", count), last_ms=cast("int", last))
            for name, count, last in rows
        }

    async def event_values(
        self, project_id: str, key: str, *, kind: str, since_ms: int, is_custom: bool
    ) -> Sequence[str]:
        """Some texts that a property of events has had since then."""
        subject = CustomProperty(key) if is_custom else resolve_property(key)
        return await self._texts(
            fill(
                _EVENT_VALUES,
                text=fill("toString(<text>)", text=text_form(subject)),
                project=text_value(project_id),
                kind=_kind(kind),
                since=integer_value(since_ms),
                limit=integer_value(VALUES_MAX),
            )
        )

    async def profile_values(self, project_id: str, key: str) -> Sequence[str]:
        """Some texts that a property of profiles has."""
        return await self._texts(
            fill(
                _PROFILE_VALUES,
                text=trait_text(tuple(key.split("."))),
                project=text_value(project_id),
                limit=integer_value(VALUES_MAX),
            )
        )

    async def _texts(self, question: Fragment) -> Sequence[str]:
        return [str(row[0]) for row in await self._rows(question)]

    async def _rows(
        self, question: Fragment, settings: Mapping[str, Setting] = INSIGHT
    ) -> Sequence[Row]:
        return await ask(self._clickhouse, finish(question, settings))


def _kind(kind: str) -> Fragment:
    return fill("kind = <kind>", kind=text_value(kind)) if kind else literal("true")


def _key(row: Row) -> Key:
    name, kind, count, last = row
    return Key(
        name=str(name),
        type=_TYPES.get(str(kind), ValueType.OTHER),
        count=cast("int", count),
        last_ms=cast("int", last),
    )
