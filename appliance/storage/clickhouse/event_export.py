"""Reads a project's events out of the event store, as bytes of a file.

Invariant: the engine makes the bytes and streams them in the order of its table (minute, kind, id),
so an export needs no memory, and two exports of the same events are equal to the byte. Typed slots
come out as JSON values of their type, an instant as `{"timestampValue": …}`: what
`domain/moving/records.py` reads back. A failure in the middle cuts the answer and is raised.
"""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Final, LiteralString, cast

from msgspec import Struct

from appliance.domain.insights.dimensions import Promoted
from appliance.domain.insights.filters import Condition
from appliance.domain.insights.spec import TimeRange
from appliance.storage.clickhouse.client import ClickHouse, Setting
from appliance.storage.clickhouse.columns import COLUMNS
from appliance.storage.clickhouse.fragment import Fragment, fill, finish, join, literal, texts_value
from appliance.storage.clickhouse.insights.conditions import compile_condition, compile_window
from appliance.storage.clickhouse.insights.settings import PAUSE_MS_MAX, PRIORITY_BULK

EXPORT_SECONDS_MAX: Final = 12 * 3600


class ExportFormat(StrEnum):
    """How exported events look."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class ExportQuery(Struct, frozen=True, kw_only=True):
    """Which events of which project; `distinct_ids` empty: of everybody."""

    project_id: str
    window: TimeRange
    distinct_ids: tuple[str, ...] = ()
    condition: Condition


EXPORT_SETTINGS: Final[dict[str, Setting]] = {
    "max_execution_time": EXPORT_SECONDS_MAX,
    "max_threads": 2,
    "max_block_size": 8192,
    "max_memory_usage": 1 << 30,
    # in the order of the table nothing is sorted; where it is, it goes to the disk before that
    "optimize_read_in_order": 1,
    "max_bytes_before_external_sort": 256 << 20,
    "output_format_json_escape_forward_slashes": 0,
    "output_format_parquet_row_group_size": 50_000,
    "output_format_parallel_formatting": 0,
    "priority": PRIORITY_BULK,
    "low_priority_query_wait_time_ms": PAUSE_MS_MAX,
    # the columns of the file have names of the table and must not hide them
    "prefer_column_name_to_alias": 1,
}
_FORMATS: Final[dict[ExportFormat, LiteralString]] = {
    ExportFormat.JSONL: "TSVRaw",
    ExportFormat.CSV: "CSVWithNames",
    ExportFormat.PARQUET: "Parquet",
}

_ORDER: Final[LiteralString] = (
    " ORDER BY project_id, date_trunc('minute', occur_time), kind, event_id"
)
_COUNT: Final[LiteralString] = "SELECT count() FROM events WHERE <where>"
_TIME: Final[dict[ExportFormat, LiteralString]] = {
    ExportFormat.JSONL: "concat(replaceOne(toString(occur_time), ' ', 'T'), 'Z')",
    ExportFormat.CSV: "concat(replaceOne(toString(occur_time), ' ', 'T'), 'Z')",
    ExportFormat.PARQUET: "occur_time",
}
_SLOT_JSON: Final[LiteralString] = """multiIf(
        substring(v, 1, 1) = 's', toJSONString(substring(v, 2)),
        substring(v, 1, 1) = 't',
            concat('{"timestampValue":"', replaceOne(substring(v, 2), ' ', 'T'), 'Z"}'),
        substring(v, 1, 1) = 'd' AND match(v, '^d-?[0-9]+$'), concat(substring(v, 2), '.0'),
        substring(v, 2)
    )"""
_PAIRS: Final[LiteralString] = """arrayMap(
        (k, v) -> concat(toJSONString(toString(k)), ':', <slot>), mapKeys(<map>), mapValues(<map>)
    )"""
_JSON_LINES: Final[LiteralString] = """
SELECT concat(
    '{"event_id":"', toString(event_id),
    '","kind":', toJSONString(toString(kind)),
    ',"occur_time":"', <time>,
    '","distinct_id":', toJSONString(distinct_id),
    ',"session_id":"', toString(session_id),
    '","auto_properties":{', arrayStringConcat(arrayConcat(<auto>, <promoted>), ','),
    '},"custom_properties":{', arrayStringConcat(<custom>, ','),
    '}}'
) FROM events WHERE <where>"""
_TABLE: Final[LiteralString] = """
SELECT
    toString(event_id) AS event_id,
    toString(kind) AS kind,
    <time> AS occur_time,
    distinct_id,
    toString(session_id) AS session_id,
    <promoted>,
    concat('{', arrayStringConcat(<auto>, ','), '}') AS auto_properties,
    concat('{', arrayStringConcat(<custom>, ','), '}') AS custom_properties
FROM events WHERE <where>"""


async def count_exported(store: ClickHouse, query: ExportQuery) -> int:
    """How many events an export has now."""
    statement = finish(fill(_COUNT, where=_where(query)), EXPORT_SETTINGS)
    rows = await store.rows(statement.text, statement.parameters, statement.settings)
    return cast("int", rows[0][0])


async def stream_events(
    store: ClickHouse, query: ExportQuery, form: ExportFormat
) -> AsyncIterator[bytes]:
    """The bytes of the file, piece by piece; raises UnavailableError when they end too early."""
    template = _JSON_LINES if form is ExportFormat.JSONL else _TABLE
    promoted = _promoted_pairs() if form is ExportFormat.JSONL else _promoted_columns()
    statement = finish(
        join(
            "",
            (
                fill(
                    template,
                    time=literal(_TIME[form]),
                    auto=_pairs("auto_properties"),
                    custom=_pairs("custom_properties"),
                    promoted=promoted,
                    where=_where(query),
                ),
                literal(_ORDER),
            ),
        ),
        EXPORT_SETTINGS,
    )
    async for piece in store.stream(
        statement.text, statement.parameters, statement.settings, form=_FORMATS[form]
    ):
        yield piece


def _where(query: ExportQuery) -> Fragment:
    tests = [compile_window(query.project_id, query.window), compile_condition(query.condition)]
    if query.distinct_ids:
        tests.append(fill("distinct_id IN <ids>", ids=texts_value(query.distinct_ids)))
    return join(" AND ", tests)


def _pairs(column: LiteralString) -> Fragment:
    """A list of `"key":value`, one for each entry of a map."""
    return fill(_PAIRS, slot=literal(_SLOT_JSON), map=literal(column))


def _promoted_pairs() -> Fragment:
    """A list of `"$key":value`, one for each column that is not at its default."""
    pairs = [
        fill(
            "if(<text> = '', '', concat('\"<key>\":', <json>))",
            text=_text(promoted),
            key=_key(promoted),
            json=_json(promoted),
        )
        for promoted in Promoted
    ]
    return fill("arrayFilter(p -> p != '', [<pairs>])", pairs=join(",\n        ", pairs))


def _promoted_columns() -> Fragment:
    columns = [
        fill("<text> AS `<key>`", text=_text(promoted), key=_key(promoted)) for promoted in Promoted
    ]
    return join(",\n    ", columns)


def _key(promoted: Promoted) -> Fragment:
    # a member of a closed enum: written by a programmer although no type checker can see it
    return literal(cast("LiteralString", promoted.value))


def _text(promoted: Promoted) -> Fragment:
    """The text of a column, empty at its default [ingestion 14]."""
    match promoted:
        case Promoted.MOBILE:
            return literal("if(mobile, 'true', '')")
        case Promoted.VERIFIED_BOT:
            return literal("multiIf(isNull(verified_bot), '', verified_bot, 'true', 'false')")
        case Promoted.BOT_SCORE:
            return literal("ifNull(toString(bot_score), '')")
        case _:
            return fill("toString(<column>)", column=literal(COLUMNS[promoted]))


def _json(promoted: Promoted) -> Fragment:
    match promoted:
        case Promoted.MOBILE | Promoted.VERIFIED_BOT | Promoted.BOT_SCORE:
            return _text(promoted)
        case _:
            return fill("toJSONString(<text>)", text=_text(promoted))
