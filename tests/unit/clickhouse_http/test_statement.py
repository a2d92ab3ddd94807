"""Where a statement ends, what its rows are, and how its answer is written."""

import pytest

from appliance.clickhouse_http.errors import EngineError
from appliance.clickhouse_http.rewrite import rewrite_ids, rewrite_show_create, split_kill
from appliance.clickhouse_http.statement import Kind, is_insert, plan_statement


@pytest.mark.parametrize(
    ("text", "kind", "body", "output", "tail"),
    [
        ("SELECT 1", Kind.ANSWER, "SELECT 1", "", ""),
        ("SELECT 1 FORMAT JSON", Kind.ANSWER, "SELECT 1", "JSON", ""),
        ("SELECT 1 format JSON;\n;", Kind.ANSWER, "SELECT 1", "JSON", ""),
        ("SELECT 1 FORMAT CSV SETTINGS a = 1", Kind.ANSWER, "SELECT 1", "CSV", "SETTINGS a = 1"),
        ("SELECT 1 SETTINGS a = 1 FORMAT CSV", Kind.ANSWER, "SELECT 1 SETTINGS a = 1", "CSV", ""),
        ("SELECT 'FORMAT CSV'", Kind.ANSWER, "SELECT 'FORMAT CSV'", "", ""),
        ("SELECT 1 -- FORMAT CSV", Kind.ANSWER, "SELECT 1", "", ""),
        ("SELECT 1 // FORMAT CSV", Kind.ANSWER, "SELECT 1", "", ""),
        ("SELECT 1 /* FORMAT */ FORMAT TSV # x", Kind.ANSWER, "SELECT 1 /* FORMAT */", "TSV", ""),
        ("SELECT format FROM t", Kind.ANSWER, "SELECT format FROM t", "", ""),
        ("SELECT (SELECT 1 FORMAT x)", Kind.ANSWER, "SELECT (SELECT 1 FORMAT x)", "", ""),
        ("SELECT 'it''s \\' FORMAT'", Kind.ANSWER, "SELECT 'it''s \\' FORMAT'", "", ""),
        ("SELECT $a$ FORMAT $b$ CSV $a$", Kind.ANSWER, "SELECT $a$ FORMAT $b$ CSV $a$", "", ""),
        ("SELECT 13;\xc2\xa0", Kind.ANSWER, "SELECT 13", "", ""),
        ("WITH 1 AS insert SELECT insert", Kind.ANSWER, "WITH 1 AS insert SELECT insert", "", ""),
        ("CREATE TABLE t (a Int8)", Kind.COMMAND, "CREATE TABLE t (a Int8)", "", ""),
        ("INSERT INTO t SELECT 1", Kind.COMMAND, "INSERT INTO t SELECT 1", "", ""),
        ("INSERT INTO t (SELECT 1)", Kind.COMMAND, "INSERT INTO t (SELECT 1)", "", ""),
        ("KILL QUERY WHERE 1 FORMAT JSON", Kind.COMMAND, "KILL QUERY WHERE 1", "JSON", ""),
        ("DESCRIBE TABLE t FORMAT Native", Kind.ANSWER, "DESCRIBE TABLE t", "Native", ""),
    ],
)
def test_plan(text: str, kind: Kind, body: str, output: str, tail: str) -> None:
    plan = plan_statement(text)
    assert (plan.kind, plan.text, plan.format, plan.tail) == (kind, body, output, tail)


@pytest.mark.parametrize(
    ("text", "head", "rows_format", "rows"),
    [
        ("INSERT INTO t VALUES (1)", "INSERT INTO t", "Values", " (1)"),
        ("INSERT INTO t (a) FORMAT CSV\n1\n2", "INSERT INTO t (a)", "CSV", "1\n2"),
        ("INSERT INTO t FORMAT CSV abc,1", "INSERT INTO t", "CSV", "abc,1"),
        ("INSERT INTO t FORMAT TSV\r\n\n1", "INSERT INTO t", "TSV", "\n1"),
        ("INSERT INTO t FORMAT TSV\nv;\n", "INSERT INTO t", "TSV", "v;\n"),
        ("INSERT INTO t FORMAT RowBinary\n\x00\xff'", "INSERT INTO t", "RowBinary", "\x00\xff'"),
        ("INSERT INTO values VALUES (1)", "INSERT INTO values", "Values", " (1)"),
        (
            "INSERT INTO FUNCTION null('a Int8') FORMAT TSV\n1",
            "INSERT INTO FUNCTION null('a Int8')",
            "TSV",
            "1",
        ),
        (
            "INSERT INTO `format`.`values` FORMAT TSV\n1",
            "INSERT INTO `format`.`values`",
            "TSV",
            "1",
        ),
        ("WITH 1 AS y INSERT INTO t FORMAT TSV\n1", "WITH 1 AS y INSERT INTO t", "TSV", "1"),
        ("INSERT INTO t SETTINGS a=1 FORMAT TSV\n1", "INSERT INTO t SETTINGS a=1", "TSV", "1"),
    ],
)
def test_plan_of_an_insert(text: str, head: str, rows_format: str, rows: str) -> None:
    plan = plan_statement(text)
    assert plan.kind is Kind.INSERT
    assert (plan.text, plan.format, text[plan.data_start :]) == (head, rows_format, rows)


def test_insert_from_input() -> None:
    text = "INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1"
    plan = plan_statement(text)
    assert plan.kind is Kind.COMMAND
    assert plan.input_span is not None
    start, end = plan.input_span
    assert text[start:end] == "input("
    assert text[plan.data_start :] == "1"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 62),
        (";", 62),
        ("SELECT 1; SELECT 2", 62),
        ("SELECT 1 INTO OUTFILE 'x'", 358),
        ("INSERT INTO t FROM INFILE 'x' FORMAT CSV", 78),
        ("INSERT INTO t FORMAT", 62),
    ],
)
def test_refusals(text: str, code: int) -> None:
    with pytest.raises(EngineError) as caught:
        plan_statement(text)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INSERT INTO t VALUES", True),
        ("-- c\n insert into t", True),
        ("WITH 1 AS a INSERT INTO t SELECT a", True),
        ("WITH 1 AS a SELECT 'INSERT INTO t'", False),
        ("WITH insert AS (SELECT 1) SELECT * FROM insert", False),
        ("SELECT 1", False),
    ],
)
def test_is_insert(text: str, expected: bool) -> None:
    assert is_insert(text) is expected


def test_ids_are_rewritten_only_where_they_are_read() -> None:
    assert rewrite_ids("SELECT 'FROM system.processes'") == "SELECT 'FROM system.processes'"
    assert rewrite_ids("SELECT 1 FROM processes") == "SELECT 1 FROM processes"
    rewritten = rewrite_ids("SELECT query_id FROM system.processes WHERE 1")
    assert rewritten.endswith(") AS processes WHERE 1")
    assert rewrite_ids("SELECT p.query_id FROM system.processes p").endswith(") p")
    killed = rewrite_ids("KILL QUERY WHERE query_id = {query_id:String} SYNC")
    assert "= {query_id:String} SYNC" in killed
    condition = split_kill(killed)
    assert condition is not None
    assert condition.rstrip().endswith("= {query_id:String}")
    assert split_kill("KILL MUTATION WHERE 1") is None
    assert split_kill("KILL QUERY WHERE 1 TEST") is None


def test_show_create_of_system_tables() -> None:
    assert "'it\\'s'" in (rewrite_show_create("SHOW CREATE TABLE system.`it's`") or "")
    assert rewrite_show_create("SHOW CREATE TABLE t") is None
    assert rewrite_show_create("SHOW TABLES") is None
