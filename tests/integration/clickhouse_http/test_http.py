"""The HTTP face, driven without the driver."""

import bz2
import gzip
import http.client
import lzma
import zlib

import brotli
import lz4.frame
import msgspec
import pytest
import zstandard

from tests.integration.clickhouse_http.engine_process import PASSWORD, USER, EngineProcess

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status"])
def test_health_needs_no_password(engine: EngineProcess, path: str) -> None:
    """Health answers Ok. to anybody."""
    reply = engine.ask(method="GET", path=path, auth=False)
    assert (reply.status, reply.text) == (200, "Ok.\n")
    assert engine.ask(method="HEAD", path=path, auth=False).body == b""


def test_unknown_path(engine: EngineProcess) -> None:
    assert engine.ask("SELECT 1", path="/nowhere").status == 404


def test_options_allows_methods(engine: EngineProcess) -> None:
    reply = engine.ask(method="OPTIONS", auth=False, headers={"Origin": "http://x"})
    assert reply.status == 204
    assert "POST" in reply.headers["access-control-allow-methods"]


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}, {}),
        ({}, {"user": USER, "password": PASSWORD}),
    ],
)
def test_credentials(
    engine: EngineProcess, headers: dict[str, str], parameters: dict[str, str]
) -> None:
    reply = engine.ask("SELECT 1", auth=False, headers=headers, **parameters)
    assert (reply.status, reply.text) == (200, "1\n")


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({}, {}),
        ({"X-ClickHouse-User": USER, "X-ClickHouse-Key": "no"}, {}),
        ({"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": PASSWORD}, {}),
        ({}, {"user": USER, "password": ""}),
        ({"Authorization": "Bearer abc"}, {}),
        ({"Authorization": "Basic %%%"}, {}),
        ({"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}, {"user": USER}),
    ],
)
def test_wrong_credentials_are_refused(
    engine: EngineProcess, headers: dict[str, str], parameters: dict[str, str]
) -> None:
    reply = engine.ask("SELECT 1", auth=False, headers=headers, **parameters)
    assert reply.status == 403
    assert reply.headers["x-clickhouse-exception-code"] == "516"
    assert "AUTHENTICATION_FAILED" in reply.text
    assert PASSWORD not in reply.text


def test_query_in_url_body_and_both(engine: EngineProcess) -> None:
    assert engine.ask(method="GET", query="SELECT 1").text == "1\n"
    assert engine.ask("SELECT 2").text == "2\n"
    assert engine.ask("3", query="SELECT").text == "3\n"
    assert engine.ask(b"", query="SELECT 4").text == "4\n"


def test_answer_headers(engine: EngineProcess) -> None:
    reply = engine.ask("SELECT number FROM numbers(10) FORMAT JSON", query_id="my-id")
    assert reply.headers["x-clickhouse-query-id"] == "my-id"
    assert reply.headers["x-clickhouse-format"] == "JSON"
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-clickhouse-timezone"]
    assert reply.headers["x-clickhouse-server-display-name"]
    summary = msgspec.json.decode(reply.headers["x-clickhouse-summary"])
    assert summary["read_rows"] == "10"
    assert summary["result_rows"] == "10"
    tag = reply.headers["x-clickhouse-exception-tag"]
    assert len(tag) == 16
    assert tag.isalpha()
    assert tag.islower()


@pytest.mark.parametrize(
    ("query", "status", "code", "name"),
    [
        ("SELEC 1", 400, "62", "SYNTAX_ERROR"),
        ("SELECT * FROM nowhere", 404, "60", "UNKNOWN_TABLE"),
        ("SELECT nothing", 404, "47", "UNKNOWN_IDENTIFIER"),
        ("SELECT nofunction(1)", 404, "46", "UNKNOWN_FUNCTION"),
        ("SELECT 1 FORMAT Nothing", 404, "73", "UNKNOWN_FORMAT"),
        ("SELECT throwIf(1)", 500, "395", "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("USE nowhere", 404, "81", "UNKNOWN_DATABASE"),
        ("SELECT 1 SETTINGS nosetting = 1", 404, "115", "UNKNOWN_SETTING"),
        ("SELECT 1; SELECT 2", 400, "62", "SYNTAX_ERROR"),
        ("SELECT 1 INTO OUTFILE 'x'", 500, "358", "INTO_OUTFILE_NOT_ALLOWED"),
        ("", 400, "62", "SYNTAX_ERROR"),
        ("SELECT {absent:Int32}", 400, "456", "UNKNOWN_QUERY_PARAMETER"),
        ("CREATE TABLE x (a Int32) ENGINE = NoEngine", 404, "56", "UNKNOWN_STORAGE"),
        ("SELECT toInt32('x')", 400, "6", "CANNOT_PARSE_TEXT"),
    ],
)
def test_errors(engine: EngineProcess, query: str, status: int, code: str, name: str) -> None:
    """Every error has its code, name, version and the original's status."""
    reply = engine.ask(query)
    assert reply.headers["x-clickhouse-exception-code"] == code, reply.text
    if code != "456":
        assert reply.status == status
    assert reply.text.startswith(f"Code: {code}. DB::Exception: ")
    assert f"({name}) (version 26." in reply.text
    assert reply.text.count("Code: ") == 1


def test_unknown_setting_in_url(engine: EngineProcess) -> None:
    reply = engine.ask("SELECT 1", no_such_setting="1")
    assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (404, "115")


def test_settings_in_url(engine: EngineProcess) -> None:
    assert engine.ask("SELECT getSetting('max_threads')", max_threads=3).text == "3\n"
    reply = engine.ask("SELECT number FROM numbers(100)", max_result_rows=5)
    assert reply.headers["x-clickhouse-exception-code"] == "396"


def test_get_is_readonly(engine: EngineProcess) -> None:
    reply = engine.ask(method="GET", query="CREATE TABLE nope (a Int32) ENGINE = Memory")
    assert reply.headers["x-clickhouse-exception-code"] == "164"
    assert engine.ask(method="GET", query="SELECT 1", max_threads=2).text == "1\n"
    assert engine.ask("CREATE TABLE nope (a Int32) ENGINE = Memory", readonly=1).status == 500


def test_post_without_length_is_refused(engine: EngineProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
    connection.putrequest("POST", "/")
    for name, value in engine.auth.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


@pytest.mark.parametrize(
    ("parameter", "value", "kind", "expected"),
    [
        ("text", "it's \\\\ \\t x", "String", "it's \\ \t x"),
        ("list", "[1,2]", "Array(UInt8)", [1, 2]),
        ("strings", "['a','b\\'c']", "Array(String)", ["a", "b'c"]),
        ("time", "2024-05-06 07:08:09.123", "DateTime64(3, 'UTC')", "2024-05-06 07:08:09.123"),
        ("absent", "\\N", "Nullable(String)", None),
        ("map", "{'k':1}", "Map(String, UInt8)", {"k": 1}),
        ("uni", "zoë 日本", "String", "zoë 日本"),
        ("number", "-5", "Int64", "-5"),
    ],
)
def test_parameters(
    engine: EngineProcess, parameter: str, value: str, kind: str, expected: object
) -> None:
    """Parameters are values, whatever they look like."""
    rows = engine.rows(
        f"SELECT {{{parameter}:{kind}}}",
        **{f"param_{parameter}": value, "output_format_json_quote_64bit_integers": 1},
    )
    assert rows == [[expected]]


def test_parameters_name_things(engine: EngineProcess, table: str) -> None:
    engine.ask("CREATE TABLE {t:Identifier} (a Int32) ENGINE = Memory", param_t=table)
    engine.ask("INSERT INTO {t:Identifier} VALUES ({v:Int32})", param_t=table, param_v=5)
    engine.ask(b"6\n", query="INSERT INTO {t:Identifier} FORMAT TSV", param_t=table)
    assert engine.ask("SELECT sum(a) FROM {t:Identifier}", param_t=table).text == "11\n"


_ENCODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}
_DECODERS = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": lambda raw: zstandard.ZstdDecompressor().decompressobj().decompress(raw),
    "lz4": lz4.frame.decompress,
    "xz": lzma.decompress,
    "bz2": bz2.decompress,
}


@pytest.mark.parametrize("encoding", sorted(_ENCODERS))
def test_compression_both_ways(engine: EngineProcess, table: str, encoding: str) -> None:
    engine.ask(f"CREATE TABLE {table} (a UInt32) ENGINE = MergeTree ORDER BY a")
    rows = b"".join(b"%d\n" % number for number in range(200_000))
    reply = engine.ask(
        _ENCODERS[encoding](rows),
        query=f"INSERT INTO {table} FORMAT TSV",
        headers={"Content-Encoding": encoding},
    )
    assert reply.status == 200, reply.text
    reply = engine.ask(
        f"SELECT a FROM {table} ORDER BY a",
        headers={"Accept-Encoding": encoding},
        enable_http_compression=1,
    )
    assert reply.headers["content-encoding"] == encoding
    assert _DECODERS[encoding](reply.body) == rows


def test_no_compression_unless_allowed(engine: EngineProcess) -> None:
    reply = engine.ask("SELECT 1", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in reply.headers


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd", "br"])
def test_damaged_body_stores_nothing(engine: EngineProcess, table: str, encoding: str) -> None:
    """A compressed body that is cut off or is not compressed at all is refused as a whole."""
    engine.ask(f"CREATE TABLE {table} (a String) ENGINE = MergeTree ORDER BY a")
    rows = b"".join(b"%d\n" % number for number in range(50_000))
    whole = _ENCODERS[encoding](rows)
    for body in (whole[: len(whole) // 2], b"not compressed at all, really not"):
        reply = engine.ask(
            body, query=f"INSERT INTO {table} FORMAT TSV", headers={"Content-Encoding": encoding}
        )
        assert reply.status >= 400, reply.text
    assert engine.ask(f"SELECT count() FROM {table}").text == "0\n"


def test_native_compression_both_ways(engine: EngineProcess, table: str) -> None:
    """`compress=1` frames come back through `decompress=1`, and a flipped byte is noticed."""
    engine.ask(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    framed = engine.ask("SELECT number AS a FROM numbers(300000) FORMAT Native", compress=1).body
    insert = f"INSERT INTO {table} FORMAT Native"
    assert engine.ask(framed, query=insert, decompress=1).status == 200
    assert engine.ask(f"SELECT count(), sum(a) FROM {table}").text == "300000\t44999850000\n"
    broken = bytearray(framed)
    broken[len(broken) // 2] ^= 1
    assert engine.ask(bytes(broken), query=insert, decompress=1).status >= 400
    assert engine.ask(f"SELECT count() FROM {table}").text == "300000\n"


@pytest.mark.parametrize(
    "name",
    [
        *("TabSeparated", "TSVWithNamesAndTypes", "CSV", "CSVWithNames", "Values", "JSON"),
        *("JSONCompact", "JSONEachRow", "JSONCompactEachRow", "JSONColumns", "RowBinary"),
        *("RowBinaryWithNamesAndTypes", "Native", "Parquet", "Arrow", "ArrowStream", "ORC"),
        *("Avro", "MsgPack", "Markdown", "XML", "Pretty", "PrettyCompact", "Vertical", "SQLInsert"),
        *("BSONEachRow", "JSONStrings", "TSKV", "CustomSeparated", "Npy", "Null"),
    ],
)
def test_output_formats(engine: EngineProcess, name: str) -> None:
    """A result of many blocks is one document in every format."""
    columns = "number" if name == "Npy" else "number, toString(number) AS s"
    query = f"SELECT {columns} FROM numbers(200000) SETTINGS max_block_size = 10000 FORMAT {name}"
    reply = engine.ask(query)
    assert reply.status == 200, reply.text
    assert not reply.broken
    assert reply.headers["x-clickhouse-format"] == name
    if name == "JSON":
        document = msgspec.json.decode(reply.body)
        assert document["rows"] == len(document["data"]) == 200_000


@pytest.mark.parametrize(
    "name",
    [
        *("TabSeparated", "CSV", "CSVWithNames", "JSONEachRow", "JSONCompactEachRow", "Native"),
        *("RowBinary", "Parquet", "Arrow", "ArrowStream", "ORC", "Avro", "MsgPack", "Values"),
        *("JSON", "BSONEachRow", "JSONColumns"),
    ],
)
def test_formats_round_trip(engine: EngineProcess, table: str, name: str) -> None:
    """What a format gives out, an insert takes in."""
    engine.ask(f"CREATE TABLE {table} (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    rows = engine.ask(
        f"SELECT number AS a, toString(number) AS s FROM numbers(5000) FORMAT {name}",
        output_format_arrow_compression_method="none",
    ).body
    reply = engine.ask(rows, query=f"INSERT INTO {table} FORMAT {name}")
    assert reply.status == 200, reply.text
    assert msgspec.json.decode(reply.headers["x-clickhouse-summary"])["written_rows"] == "5000"
    assert engine.ask(f"SELECT count(), sum(a), uniq(s) > 4900 FROM {table}").text == (
        "5000\t12497500\t1\n"
    )


def test_default_format(engine: EngineProcess) -> None:
    assert engine.ask("SELECT 1 AS a", default_format="JSONEachRow").text == '{"a":1}\n'
    reply = engine.ask("SELECT 1 AS a", headers={"X-ClickHouse-Format": "CSV"})
    assert reply.headers["x-clickhouse-format"] == "CSV"


def test_totals_and_extremes(engine: EngineProcess) -> None:
    reply = engine.ask(
        "SELECT number % 2 AS k, count() AS c FROM numbers(10) GROUP BY k WITH TOTALS FORMAT JSON",
        extremes=1,
    )
    document = msgspec.json.decode(reply.body)
    assert document["totals"]["c"] in {"10", 10}
    assert document["extremes"]["max"]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {t} VALUES (1, 'a'), (2, 'b;c');",
        'INSERT INTO {t} (a, s) FORMAT JSONEachRow {{"a":1,"s":"x"}} {{"a":2,"s":"y"}}',
        "/* FORMAT */ insert into {t} format TSV\n1\tx\n2\ty\n",
        "INSERT INTO {t} SELECT number + 1, 'FORMAT' FROM numbers(2)",
        "INSERT INTO {t} (s, a) SELECT * FROM (SELECT 'x', number + 1 FROM numbers(2))",
        "INSERT INTO TABLE {t} SETTINGS max_insert_threads = 1 FORMAT CSV\n1,x\n2,y\n",
        "INSERT INTO {t} WITH 1 AS one SELECT one + number, 's' FROM numbers(2)",
        "INSERT INTO {t} SELECT a, s FROM input('a UInt8, s String') FORMAT CSV\n1,x\n2,y\n",
    ],
)
def test_insert_in_the_text(engine: EngineProcess, table: str, statement: str) -> None:
    engine.ask(f"CREATE TABLE {table} (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    reply = engine.ask(statement.format(t=table))
    assert reply.status == 200, reply.text
    assert engine.ask(f"SELECT groupArray(a) FROM (SELECT a FROM {table} ORDER BY a)").text == (
        "[1,2]\n"
    )


def test_insert_from_input_function(engine: EngineProcess, table: str) -> None:
    """A body can be transformed on its way; a bad row refuses all of it."""
    engine.ask(f"CREATE TABLE {table} (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    insert = (
        f"INSERT INTO {table} SELECT x * 10, upper(y) FROM input('x UInt8, y String') FORMAT CSV"
    )
    assert engine.ask(b"1,q\n2,r\n", query=insert).status == 200
    assert engine.ask(b"3,q\nbad,r\n", query=insert).status == 400
    assert engine.ask(f"SELECT * FROM {table} ORDER BY a").text == "10\tQ\n20\tR\n"


def test_insert_with_a_bad_row_stores_nothing(engine: EngineProcess, table: str) -> None:
    engine.ask(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    rows = b"".join(b'{"a":%d}\n' % number for number in range(1000)) + b'{"a":"x"}\n'
    reply = engine.ask(rows, query=f"INSERT INTO {table} FORMAT JSONEachRow")
    assert reply.status == 400
    assert engine.ask(f"SELECT count() FROM {table}").text == "0\n"


def test_external_table_in_a_form(engine: EngineProcess) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n'
        b"SELECT sum(n), any({p:String}) FROM ext\r\n"
        b'--b\r\nContent-Disposition: form-data; name="param_p"\r\n\r\nhello\r\n'
        b'--b\r\nContent-Disposition: form-data; name="ext"; filename="x.tsv"\r\n\r\n'
        b"1\ta\n2\tb\n\r\n--b--\r\n"
    )
    reply = engine.ask(
        body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        ext_structure="n UInt8, s String",
    )
    assert (reply.status, reply.text) == (200, "3\thello\n")
    reply = engine.ask(body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert reply.status == 400


def test_many_requests_on_one_connection(engine: EngineProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
    for number in range(20):
        query = "SELEC" if number % 3 == 0 else f"SELECT {number}"
        connection.request("POST", "/", query, engine.auth)
        response = connection.getresponse()
        body = response.read()
        assert (response.status == 400) == (number % 3 == 0)
        if response.status == 200:
            assert body == b"%d\n" % number
    connection.close()


def test_summary_waits_for_the_end(engine: EngineProcess) -> None:
    """With wait_end_of_query a large result still has its full summary and its own error status."""
    reply = engine.ask("SELECT number FROM numbers(2000000)", wait_end_of_query=1)
    assert msgspec.json.decode(reply.headers["x-clickhouse-summary"])["read_rows"] == "2000000"
    assert reply.body.count(b"\n") == 2_000_000
    reply = engine.ask(
        "SELECT throwIf(number = 1900000) FROM numbers(2000000)",
        wait_end_of_query=1,
        max_block_size=10_000,
    )
    assert reply.status == 500
    assert not reply.broken


def test_mid_stream_error(engine: EngineProcess) -> None:
    """A late failure is told inside the body and the body never ends properly."""
    reply = engine.ask(
        "SELECT number, throwIf(number = 3000000) FROM numbers(4000000)", max_block_size=65_000
    )
    assert reply.status == 200
    assert reply.broken
    tag = reply.headers["x-clickhouse-exception-tag"].encode()
    tail = reply.body[-2000:]
    assert b"__exception__\r\n" + tag + b"\r\nCode: 395. DB::Exception: " in tail
    assert tail.endswith(b" " + tag + b"\r\n__exception__\r\n")
    early = engine.ask("SELECT number, throwIf(number = 10) FROM numbers(4000000)")
    assert early.status == 500


def test_session_time_zone_header(engine: EngineProcess) -> None:
    reply = engine.ask("SELECT toDateTime(0)", session_timezone="Asia/Tokyo")
    assert reply.headers["x-clickhouse-timezone"] == "Asia/Tokyo"
    assert reply.text == "1970-01-01 09:00:00\n"


def test_text_that_only_looks_like_clauses(engine: EngineProcess) -> None:
    query = """
    -- FORMAT Null
    SELECT 'FORMAT JSON' AS `format`, $tag$ INTO OUTFILE 'x' $tag$ AS b /* SETTINGS */, 1 # c
    """
    assert engine.ask(query).status == 200
    assert engine.ask("SELECT 1 AS format, 2 AS settings ORDER BY format").text == "1\t2\n"
    assert engine.ask("SELECT 1 FORMAT JSONEachRow SETTINGS max_threads = 1;").text == '{"1":1}\n'
    assert engine.ask("(SELECT 1) UNION ALL (SELECT 1)").text == "1\n1\n"
