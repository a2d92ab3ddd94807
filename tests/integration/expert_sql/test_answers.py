"""What an expert gets: rows of one project, in five forms, within the engine's limits."""

import asyncio
import io
import json

import pytest

from appliance.base.errors import (
    ApplianceError,
    ExhaustedError,
    InvalidInputError,
    TimedOutError,
)
from appliance.base.tasks import poll
from appliance.domain.expert_sql.answers import Form
from appliance.storage.clickhouse import expert_sql as module
from appliance.storage.clickhouse.expert_limits import query_settings
from appliance.storage.clickhouse.expert_sql import ExpertSql
from tests.integration.expert_sql.conftest import ROWS, SECRET, Expert

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

RUNNING = (
    "SELECT count() FROM system.processes"
    " WHERE query LIKE {mark:String} AND query NOT LIKE '%processes%'"
)


async def test_events_are_those_of_the_project(expert: Expert) -> None:
    line = await expert.rows(
        "SELECT count(), uniq(url), any(custom_properties['plan']), any(mobile),"
        " sum(toInt64(custom_properties['age'])), countIf(url LIKE '%ä') FROM events -- ends here"
    )
    assert line == [f'{ROWS},1,"pro",false,{42 * ROWS},{ROWS}']


async def test_people_are_their_latest_version(expert: Expert) -> None:
    assert await expert.rows("SELECT id, external_id, properties FROM persons") == [
        '"p1","ann","{""name"":""Anna""}"'
    ]
    assert await expert.rows("SELECT distinct_id, person_id FROM person_ids") == ['"d0","p1"']


async def test_sessions_and_names(expert: Expert) -> None:
    rows = await expert.rows(
        "SELECT count(), sum(event_count), any(entry_url), any(exit_country) FROM sessions"
    )
    assert rows == [f'{ROWS},{ROWS},"https://mine.test/ä","AT"']
    assert await expert.rows("SELECT kind, event_count FROM event_names") == [f'"page_view",{ROWS}']


ANALYSIS = [
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT n FROM t",
    "SELECT row_number() OVER (PARTITION BY kind ORDER BY occur_time) AS n FROM events LIMIT 1",
    "SELECT quantiles(0.5, 0.9)(toFloat64(custom_properties['age'])) FROM events",
    "SELECT arrayStringConcat(arrayMap(x -> upper(x), ['a', 'b']), '-')",
    "(SELECT 1) UNION ALL (SELECT 2);",
    "SELECT distinct_id IN (SELECT distinct_id FROM person_ids) AS known FROM events LIMIT 1",
    "SELECT windowFunnel(3600)(toDateTime(occur_time), kind = 'a', kind = 'b') FROM events",
    "SELECT kind, count() FROM events GROUP BY kind WITH TOTALS",
    "SELECT * EXCEPT (auto_properties) FROM events ARRAY JOIN [1, 2] AS n LIMIT 1",
    "SELECT 'it''s; a /* text */ -- here', \"kind\", `kind` FROM events LIMIT 1",
    """SELECT toStartOfInterval(occur_time, INTERVAL 1 HOUR) AS h, uniqExactIf(distinct_id, mobile)
    FROM events GROUP BY h ORDER BY h WITH FILL STEP INTERVAL 1 HOUR LIMIT 1""",
    """SELECT e.kind FROM events AS e LEFT JOIN person_ids AS i ON e.distinct_id = i.distinct_id
    LEFT JOIN persons AS p ON p.id = i.person_id WHERE p.external_id = 'ann' LIMIT 1""",
    """SELECT dateDiff('day', min(occur_time), max(occur_time)) FROM events
    WHERE occur_time > now() - INTERVAL 7 DAY""",
]


@pytest.mark.parametrize("sql", ANALYSIS)
async def test_what_analysts_write_is_answered(expert: Expert, sql: str) -> None:
    assert await expert.rows(sql)


async def test_five_forms(expert: Expert) -> None:
    sql = "SELECT kind, count() AS n FROM events GROUP BY kind"
    assert (await expert.ask(sql, Form.CSV)).decode() == f'"kind","n"\n"page_view",{ROWS}\n'
    lines = (await expert.ask(sql, Form.JSONL)).decode()
    assert json.loads(lines) == {"kind": "page_view", "n": str(ROWS)}
    whole = json.loads(await expert.ask(sql, Form.JSON))
    assert whole["rows"] == 1
    assert whole["meta"][1] == {"name": "n", "type": "UInt64"}
    table = (await expert.ask(sql, Form.TABLE)).decode()
    assert "│ page_view │" in table
    packed = io.BytesIO(await expert.ask(sql, Form.PARQUET)).getvalue()
    assert packed[:4] == packed[-4:] == b"PAR1"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT nothing FROM events", "nothing"),
        ("SELECT toInt64(url) FROM events", "Cannot parse string"),
        ("SELECT sum(url) FROM events", "Illegal type String"),
        ("SELECT count( FROM events", "bracket"),
        ("SELECT 1 +", "ends too early"),
        ("SELECT kind, count() FROM events", "GROUP BY"),
        ("SELECT throwIf(1, 'mine')", "mine"),
        ("SELECT url FRM events WHERE 1", "position 16"),
    ],
)
async def test_errors_are_readable_and_tell_nothing_inner(
    expert: Expert, sql: str, words: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await expert.ask(sql)
    told = caught.value.message
    assert words in told
    for inner in (expert.database, "getSetting", "log_comment", "/proc/", "__table", "Exception"):
        assert inner not in told, told
    assert SECRET not in told


LIMITS = [
    ("max_result_rows", 10, "SELECT url FROM events", ExhaustedError),
    ("max_result_bytes", 1000, "SELECT repeat(url, 99) FROM events", ExhaustedError),
    ("max_rows_to_read", 10, "SELECT count() FROM events WHERE url != ''", ExhaustedError),
    (
        "max_memory_usage",
        4 << 20,
        "SELECT groupArray(repeat(url, 1000)) FROM events",
        ExhaustedError,
    ),
    (
        "max_execution_time",
        1,
        "SELECT count() FROM events a, events b, events c, events d",
        TimedOutError,
    ),
]


@pytest.mark.parametrize(("name", "value", "sql", "kind"), LIMITS, ids=[one[0] for one in LIMITS])
async def test_limits_are_the_engines(
    expert: Expert,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: int,
    sql: str,
    kind: type[ApplianceError],
) -> None:
    """A lower limit in the settings of the request stops the query; nothing is sent before."""

    def lowered(database: str, scope: module.Scope) -> dict[str, object]:
        settings = query_settings(database, scope)
        assert name in settings
        return {**settings, name: value}

    assert await expert.ask("SELECT 1")
    monkeypatch.setattr(module, "query_settings", lowered)
    with pytest.raises(kind) as caught:
        await expert.ask(sql)
    assert caught.value.reason in {"QUERY_TOO_LARGE", "QUERY_TOO_SLOW"}


async def test_who_leaves_ends_the_query(expert: Expert) -> None:
    mark = "an endless cross product"
    sql = f"SELECT count(), '{mark}' FROM events a, events b, events c, events d"
    running = asyncio.ensure_future(expert.ask(sql))

    async def is_there(wanted: int) -> bool | None:
        rows = await expert.plain.rows(RUNNING, {"mark": f"%{mark}%"})
        return True if rows[0][0] == wanted else None

    assert await poll(lambda: is_there(1), every_seconds=0.05, timeout_seconds=60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await poll(lambda: is_there(0), every_seconds=0.05, timeout_seconds=60)


async def test_a_server_that_keeps_no_locks_is_not_asked(
    expert: Expert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older one that knows a setting not, or an account that may not choose it."""
    asked = f"{module.KEPT_SETTINGS} AND name != 'readonly'"
    monkeypatch.setattr(module, "KEPT_SETTINGS", asked)
    fresh = ExpertSql(expert.endpoint)
    with pytest.raises(ApplianceError) as caught:
        await fresh.admit("SELECT 1")
    assert caught.value.reason == "QUERY_LOCKS_MISSING"
    assert "readonly" in caught.value.message
    await fresh.close()


async def test_views_that_are_lost_are_made_again(expert: Expert) -> None:
    """As when the store was restored beneath a running process."""
    await expert.ask("SELECT 1")
    await expert.plain.command("DROP DATABASE {name:Identifier}", {"name": expert.views})
    with pytest.raises(ApplianceError):
        await expert.ask("SELECT count() FROM events")
    assert await expert.rows("SELECT count() FROM events") == [str(ROWS)]
