"""Every lock between a query and another project's rows, alone, with what happens without it."""

from typing import Any, LiteralString, cast

import pytest

from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.domain.expert_sql.answers import Scope
from appliance.domain.expert_sql.functions import AGGREGATE, ORDINARY
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.expert_limits import LOCKS, project_filters, query_settings
from appliance.storage.clickhouse.expert_views import SCOPE_SETTING, STORED_TABLES, VIEWS
from tests.integration.expert_sql.conftest import ROWS, SECRET, Expert

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

REFUSED = "QUERY_REFUSED"
LOOKING_OUTSIDE = [
    *("file('/etc/hostname')", "getSetting('log_comment')", "currentUser()", "hostName()"),
    *("dictGet('a', 'b', 1)", "joinGet('a', 'b', 1)", "hasColumnInTable('{db}', 'events', 'url')"),
    *("getMacro('a')", "getServerPort('http_port')", "sleep(3)", "version()", "uptime()"),
    *("currentDatabase()", "serverUUID()", "tcpPort()", "getServerSetting('a')", "queryID()"),
    *("initializeAggregation('uniqState', 1)", "arrayReduce('sum', [1])", "chdb()"),
    *("aiGenerate('x')", "formatQuery('select 1')", "addressToLine(1)", "reinterpret(1, 'Int8')"),
    *("globalVariable('version')", "generateSerialID('a')", "evalMLMethod('a', 1)", "eval('1')"),
]
PLACES = [
    "SELECT {f}",
    "SELECT 1 FROM events WHERE toString({f}) = 'x'",
    "SELECT sum(1) OVER (PARTITION BY {f}) FROM events",
    "SELECT row_number() OVER w FROM events WINDOW w AS (ORDER BY {f})",
    "SELECT 1 FROM events ORDER BY {f}",
    "SELECT count() FROM events GROUP BY {f}",
    "SELECT count() FROM events GROUP BY GROUPING SETS ((kind), ({f}))",
    "SELECT 1 FROM events LIMIT 1 BY {f}",
    "SELECT 1 FROM events LIMIT toUInt8({f})",
    "SELECT 1 FROM events HAVING {f} = 'x'",
    "SELECT 1 FROM events QUALIFY {f} = 'x'",
    "SELECT * REPLACE ({f} AS url) FROM events",
    "SELECT arrayMap(x -> {f}, [1])",
    "SELECT 1 FROM events ARRAY JOIN [{f}] AS z",
    "SELECT 1 FROM events AS a JOIN events AS b ON a.url = {f}",
    "SELECT 1 AS n ORDER BY n WITH FILL FROM 0 TO toUInt8({f})",
    "SELECT 1 AS n, 2 AS m ORDER BY n WITH FILL INTERPOLATE (m AS {f})",
    "WITH {f} AS x SELECT x",
    "WITH t AS (SELECT {f}) SELECT * FROM t",
    "SELECT (SELECT {f})",
    "SELECT 1 IN (SELECT {f})",
    "SELECT exists(SELECT {f})",
    "SELECT DISTINCT ON ({f}) url FROM events",
    "SELECT 1 UNION ALL SELECT {f}",
    "SELECT CASE WHEN 1 THEN {f} END",
    "SELECT countIf({f} = 'x') FROM events",
    "SELECT sum(1) FILTER (WHERE {f} = 'x') FROM events",
]
OTHER_TABLES = [
    *("{db}.events", "system.tables", "`{db}`.`profiles`", "default.`/etc/hostname`"),
    *("`/etc/hostname`", '"{db}.events"', "profiles", "dashboard_session_rollup", "numbers(3)"),
    *("numbers(3)", "file('/etc/hostname', 'LineAsString')", "url('http://127.0.0.1:1/', 'CSV')"),
    *("remote('127.0.0.1:1', 'system.one')", "merge('{db}', 'events')", "view(SELECT 1)"),
    *("loop({db}.events)", "values('a Int8', 1)", "generateRandom('a Int8')", "python('x')"),
    *("mergeTreeIndex('{db}', 'events')", "executable('ls', 'TSV', 'a String')", "input('a Int8')"),
    *("s3('http://127.0.0.1:1/x')", "mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')", "eval('SELECT 1')"),
    *(
        "dictionary('a')",
        "cluster('default', 'system.one')",
        "viewExplain('EXPLAIN', '', (SELECT 1))",
    ),
]
SOURCES = [
    "SELECT * FROM {t}",
    "SELECT * FROM events, {t}",
    "SELECT * FROM events AS a JOIN {t} AS b ON 1 = 1",
    "SELECT * FROM (SELECT * FROM {t})",
    "WITH x AS (SELECT * FROM {t}) SELECT * FROM x",
    "SELECT (SELECT count() FROM {t})",
    "SELECT sum(1) OVER (ORDER BY (SELECT count() FROM {t})) FROM events",
    "SELECT 1 UNION ALL SELECT count() FROM {t}",
    "SELECT 'x' IN (SELECT * FROM {t})",
]
ODD_TEXTS = [
    *(
        "",
        ";",
        "SELECT",
        "SELECT 1; SELECT 2",
        "SELECT 1;; DROP TABLE {db}.events",
        "EXPLAIN SELECT 1",
    ),
    *("INSERT INTO events SELECT 1", "DROP TABLE {db}.events", "SHOW TABLES", "SET readonly = 0"),
    *("SELECT 1 SETTINGS readonly = 0", "SELECT 1 FORMAT TSV", "SELECT 1 INTO OUTFILE '/tmp/x'"),
    *("SELECT 1) UNION ALL SELECT * FROM (SELECT 2", "SELECT (1", "SELECT 1]", "SELECT ((1)"),
    *("SELECT $$ ' $$", "SELECT $a$ ; $a$", "SELECT \u2018x\u2019", "SELECT \u201cx\u201d"),
    *("SELECT @@version", "SELECT {{p:String}}", "SELECT 1 # x", "SELECT 1 /* /* */ */"),
    *("SELECT 1 /* open", "SELECT 'open", "SELECT `a\nb`", "SELECT `a, function_name: count`"),
    *("SELECT * APPLY(file) FROM events", "SELECT COLUMNS('url') APPLY file FROM events"),
    *("SELECT 1\0", "SELECT '\0'", "SELECT \ud800", "SELECT 1 \\G", "FROM events SELECT 1"),
    *("SELECT url FROM events PREWHERE 1", "SELECT url FROM events SAMPLE 1 / 2"),
    *("VALUES (1)", "TABLE events", "WITH `{db}.events` AS (SELECT 1) SELECT * FROM {db}.events"),
    *("SELECT url IN {db}.events FROM events", "SELECT url NOT IN system.tables FROM events"),
    *(
        "SELECT (url, kind) GLOBAL IN {db}.events FROM events",
        "SELECT in(url, {db}.events) FROM events",
    ),
    "SELECT " + "1, " * 20_000 + "1",
]


async def refused(expert: Expert, sql: str) -> InvalidInputError:
    """What a query is refused with; nobody else's rows and no inner name in it."""
    with pytest.raises(InvalidInputError) as caught:
        await expert.ask(sql)
    told = caught.value.message
    assert SECRET not in told
    assert "/proc/" not in told
    return caught.value


@pytest.mark.parametrize("function", LOOKING_OUTSIDE)
async def test_no_function_looks_outside(expert: Expert, function: str) -> None:
    for place in PLACES:
        sql = place.format(f=function.format(db=expert.database))
        assert (await refused(expert, sql)).reason == REFUSED, sql


async def test_without_the_closed_set_a_function_reads_files(expert: Expert) -> None:
    """Control: no other lock knows functions."""
    settings = query_settings(expert.database, Scope("mine"))
    rows = await expert.reader.rows("SELECT length(file('/etc/hostname')) > 0", {}, settings)
    assert rows[0][0]


@pytest.mark.parametrize("table", OTHER_TABLES)
async def test_no_other_table_is_read(expert: Expert, table: str) -> None:
    for source in SOURCES:
        sql = source.format(t=table.format(db=expert.database))
        told = await refused(expert, sql)
        assert told.reason in {REFUSED, "QUERY_INVALID"}, sql


@pytest.mark.parametrize("sql", ODD_TEXTS)
async def test_odd_texts_are_refused(expert: Expert, sql: str) -> None:
    await refused(expert, sql.replace("{db}", expert.database))


async def test_the_closed_set_computes_only(expert: Expert) -> None:
    """Against the engine's own list, so that a new one cannot slip in by its name."""
    rows = await expert.plain.rows("SELECT name, categories, is_aggregate FROM system.functions")
    outside = {"Dictionary", "Embedded Dictionary", "Encryption", "Introspection", "AI", "Internal"}
    outside |= {"Machine Learning"}
    allowed = ORDINARY | AGGREGATE
    looking = {str(name).lower() for name, category, _ in rows if category in outside}
    assert allowed & looking <= {"_cast", "casewithexpression"}
    tables = await expert.plain.rows("SELECT name FROM system.table_functions")
    assert not allowed & {str(name).lower() for (name,) in tables}
    known = {str(name).lower() for name, _, _ in rows}
    assert allowed - known <= {"exists", "untuple", "grouping"}


async def test_every_table_of_projects_is_filtered(expert: Expert) -> None:
    rows = await expert.plain.rows(
        "SELECT DISTINCT table FROM system.columns WHERE database = {name:String}"
        " AND name = 'project_id' AND table IN (SELECT name FROM system.tables"
        " WHERE database = {name:String} AND engine NOT LIKE '%View')",
        {"name": expert.database},
    )
    assert {str(name) for (name,) in rows} == set(STORED_TABLES)


async def count(store: ClickHouse, sql: str, settings: dict[str, Any]) -> int:
    rows = await store.rows(cast("LiteralString", sql), {}, settings)
    return cast("int", rows[0][0])


STORED = [
    "SELECT count() FROM {db}.events",
    "SELECT count() FROM (SELECT * FROM {db}.events)",
    "SELECT count() FROM view(SELECT * FROM {db}.events)",
    "SELECT count() FROM {db}.events AS `{db}.profiles`",
    "SELECT countIf(kind IN (SELECT kind FROM {db}.events)) FROM {db}.events",
    "SELECT count() FROM {db}.events AS a JOIN {db}.events AS b USING (event_id)",
    "SELECT count() FROM {db}.events AS a LEFT JOIN {db}.events AS b USING (event_id)",
]


@pytest.mark.parametrize("sql", STORED)
async def test_the_engine_filters_stored_tables(expert: Expert, sql: str) -> None:
    """The filters alone: no view, no closed set; and what is there without them."""
    text = sql.format(db=expert.database)
    filters = project_filters(expert.database, Scope("mine"))
    assert await count(expert.plain, text, {"additional_table_filters": filters}) == ROWS
    assert await count(expert.plain, text, {}) == 2 * ROWS


async def test_views_show_one_project(expert: Expert) -> None:
    """The views alone: they show what the setting names."""
    for project in ("mine", "other"):
        sql = "SELECT count() FROM events"
        assert await count(expert.reader, sql, {SCOPE_SETTING: project}) == ROWS
    for view in VIEWS:
        assert await count(expert.reader, f"SELECT count() FROM {view}", {}) == 0
        mine = await count(expert.reader, f"SELECT count() FROM {view}", {SCOPE_SETTING: "mine"})
        assert mine > 0, view


@pytest.mark.parametrize(
    "setting", ["log_comment = 'other'", "readonly = 0", "additional_table_filters = {}"]
)
async def test_a_query_changes_no_setting(expert: Expert, setting: str) -> None:
    """`readonly` alone; without it the same words are obeyed."""
    sql = f"SELECT count() FROM events SETTINGS {setting}"
    settings = query_settings(expert.database, Scope("mine"))
    with pytest.raises(ApplianceError) as caught:
        await count(expert.reader, sql, settings)
    assert caught.value.fields["clickhouse_code"] == "164"
    if setting.startswith("log_comment"):
        assert await count(expert.reader, sql, {SCOPE_SETTING: "mine"}) == ROWS
        seen = await expert.reader.rows(
            cast("LiteralString", f"SELECT any(url) FROM events SETTINGS {setting}"),
            {},
            {SCOPE_SETTING: "mine"},
        )
        assert seen[0][0] == SECRET


PROBES = [
    "SELECT count() FROM events WHERE throwIf(url = '{secret}') = 0",
    "SELECT count() FROM events WHERE throwIf(startsWith(url, 'SECRET')) OR url != ''",
    "SELECT count() FROM events WHERE intDiv(1, url != '{secret}') >= 0",
    "SELECT sum(throwIf(distinct_id LIKE 'SECRET%')) FROM events",
    "SELECT count() FROM events WHERE throwIf(custom_properties['plan'] = '{secret}') = 0",
    "SELECT count() FROM events a JOIN events b USING (event_id) WHERE throwIf(b.url = '{secret}')",
    "SELECT count() FROM (SELECT * FROM events LIMIT 9999) WHERE throwIf(url = '{secret}') = 0",
    "SELECT 1 IN (SELECT 1 FROM events WHERE throwIf(url = '{secret}') = 0)",
    "SELECT count() FROM event_names WHERE throwIf(kind = '{secret}') = 0",
    "SELECT count() FROM persons WHERE throwIf(external_id = '{secret}') = 0",
    "SELECT count() FROM person_ids WHERE throwIf(person_id = '{secret}') = 0",
    "SELECT count() FROM sessions WHERE throwIf(entry_url = '{secret}') = 0",
]


@pytest.mark.parametrize("probe", PROBES)
async def test_no_function_meets_a_row_of_others(expert: Expert, probe: str) -> None:
    """An error would tell that a row exists, which no count shows."""
    assert len(await expert.rows(probe.replace("{secret}", SECRET))) == 1


async def test_without_the_order_of_filters_errors_tell(expert: Expert) -> None:
    """Control: views, filters and read-only together do not keep this secret."""
    settings = query_settings(expert.database, Scope("mine"))
    for name in ("optimize_move_to_prewhere", "query_plan_merge_filters"):
        assert LOCKS[name] == 0
        del settings[name]
    probe = PROBES[0].replace("{secret}", SECRET)
    with pytest.raises(ApplianceError) as caught:
        await count(expert.reader, probe, settings)
    assert caught.value.fields["clickhouse_code"] == "395"
