"""clickhouse-connect, unchanged, against the engine."""

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Iterator

import anyio.to_thread
import clickhouse_connect
import lz4.frame
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect import dbapi
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, ProgrammingError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData
from clickhouse_connect.driver.summary import QuerySummary

from tests.integration.clickhouse_http.engine_process import EngineProcess
from tests.integration.clickhouse_http.test_faults import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def async_client(engine: EngineProcess) -> AsyncIterator[AsyncClient]:
    connected = await clickhouse_connect.get_async_client(**engine.driver)
    try:
        yield connected
    finally:
        await connected.close()


@pytest.fixture(params=["lz4", "zstd", "gzip", "br", False, True])
def packed_client(engine: EngineProcess, request: pytest.FixtureRequest) -> Iterator[Client]:
    connected = clickhouse_connect.get_client(compress=request.param, **engine.driver)
    try:
        yield connected
    finally:
        connected.close()


def test_negotiation(client: Client) -> None:
    """The driver finds the server's version, its protocol version and its zone."""
    assert client.server_version.startswith("26.")
    assert client.protocol_version == 54405
    assert client.ping()
    assert client.compression


def test_query_and_command_results(client: Client) -> None:
    result = client.query("SELECT number, toString(number) AS s FROM numbers(3)")
    assert result.result_rows == [(0, "0"), (1, "1"), (2, "2")]
    assert result.column_names == ("number", "s")
    assert int(result.summary["read_rows"]) == 3
    assert client.command("SELECT 'x'") == "x"
    assert client.command("SELECT 1, 2") == ["1", "2"]
    assert client.command("SELECT 1 WHERE 0") == ""
    assert isinstance(client.command("DROP TABLE IF EXISTS nothing_here"), QuerySummary)
    assert client.query("SELECT 1 LIMIT 0").column_names == ("1",)
    assert client.query("SELECT 1 AS x WHERE 0").result_rows == []
    assert client.query("SELECT 13; /* c */ ;").result_rows == [(13,)]
    assert client.query("SELECT number FROM numbers(9) // LIMIT 0").row_count == 9


@pytest.mark.parametrize(
    "query",
    [
        *("SHOW DATABASES", "DESCRIBE TABLE system.settings", "EXPLAIN SELECT 1", "SHOW GRANTS"),
        *(
            "SHOW CREATE TABLE system.tables",
            "EXISTS TABLE system.one",
            "SHOW SETTINGS LIKE 'max%'",
        ),
        *("SHOW COLUMNS FROM system.tables", "SELECT * FROM system.tables", "SHOW FUNCTIONS"),
        *("SELECT * FROM system.columns", "EXPLAIN AST SELECT 1", "SHOW ENGINES"),
    ],
)
def test_statements_with_results(client: Client, query: str) -> None:
    """Everything that answers with rows can be read as blocks."""
    result = client.query(query)
    assert result.column_names
    assert result.row_count > 0


@pytest.mark.parametrize("server_side", [True, False])
def test_parameters(client: Client, server_side: bool) -> None:
    text = "it's \\ a\ttab\nand {x:y} %s 日本"
    query = "SELECT {t:String}, {n:Nullable(Int32)}, {a:Array(String)}"
    if not server_side:
        query = "SELECT %(t)s, %(n)s, %(a)s"
    row = client.query(query, parameters={"t": text, "n": None, "a": ["x", "y'z"]}).first_row
    assert list(row) == [text, None, ["x", "y'z"]]


def test_binary_binds(client: Client) -> None:
    rows = client.raw_query(
        "SELECT col2, col1 FROM format(CSVWithNames, $xx$)",
        parameters={"$xx$": b"col1,col2\n100,700"},
    )
    assert rows == b"700\t100\n"


def test_form_encoded_parameters(engine: EngineProcess) -> None:
    client = clickhouse_connect.get_client(form_encode_query_params=True, **engine.driver)
    long = "y" * 300_000
    assert client.query("SELECT length({t:String})", parameters={"t": long}).first_row == (300_000,)
    client.close()


def test_compression(packed_client: Client, table: str) -> None:
    packed_client.command(f"CREATE TABLE {table} (a UInt32, s String) ENGINE MergeTree ORDER BY a")
    rows = [[number, f"row {number}"] for number in range(20_000)]
    summary = packed_client.insert(table, rows, column_names=["a", "s"])
    assert summary.written_rows == 20_000
    result = packed_client.query(f"SELECT * FROM {table} ORDER BY a")
    assert result.result_rows == [tuple(row) for row in rows]


def test_inserts_of_every_shape(client: Client, table: str) -> None:
    client.command(f"CREATE TABLE {table} (a Int64, s String) ENGINE MergeTree ORDER BY a")
    client.insert(table, [[1, "a"], [2, "b"]], column_names=["a", "s"])
    client.insert(table, [[3, 4], ["c", "d"]], column_names=["a", "s"], column_oriented=True)
    client.insert_df(table, pd.DataFrame({"a": [5, 6], "s": ["e", "f"]}))
    client.insert_arrow(table, pa.table({"a": [7, 8], "s": ["g", "h"]}))
    client.insert_df_arrow(table, pl.DataFrame({"a": [9, 10], "s": ["i", "j"]}))
    client.raw_insert(table, ["a", "s"], b"11,k\n12,l\n", fmt="CSV")
    client.raw_insert(table, ["a", "s"], '{"a":13,"s":"m"}', fmt="JSONEachRow")
    client.raw_insert(
        table, ["a", "s"], iter([b"14\tn\n", b"15\to\n"]), fmt="TSV", settings={"max_threads": 1}
    )
    client.raw_insert(table, ["a", "s"], io.BytesIO(b"16\tp\n"), fmt="TabSeparated")
    context = client.create_insert_context(table, ["a", "s"], data=[[17, "q"]])
    client.insert(context=context)
    client.command(f"INSERT INTO {table} VALUES", data="(18, 'r')")
    stored = client.query(f"SELECT a FROM {table} ORDER BY a").result_rows
    assert stored == [(number,) for number in range(1, 19)]


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4"])
def test_raw_insert_of_a_compressed_file(client: Client, table: str, encoding: str) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress, "lz4": lz4.frame.compress}[encoding]
    client.command(f"CREATE TABLE {table} (a Int64) ENGINE MergeTree ORDER BY a")
    client.raw_insert(table, ["a"], io.BytesIO(pack(b"1\n2\n")), fmt="TSV", compression=encoding)
    assert client.command(f"SELECT sum(a) FROM {table}") == 3


def test_frames_and_arrow(client: Client) -> None:
    query = "SELECT number AS a, toString(number) AS s, number / 2 AS f FROM numbers(100000)"
    frame = client.query_df(query)
    assert frame["a"].sum() == 4999950000
    assert list(frame.columns) == ["a", "s", "f"]
    array = client.query_np("SELECT number FROM numbers(1000)")
    assert isinstance(array, np.ndarray)
    table = client.query_arrow(query, use_strings=True)
    assert table.num_rows == 100_000
    assert client.query_df_arrow(query, dataframe_library="polars")["a"].sum() == 4999950000
    assert client.query_df_arrow(query)["a"].sum() == 4999950000


def test_streams(client: Client) -> None:
    query = "SELECT number, toString(number) AS s FROM numbers(300000)"
    with client.query_row_block_stream(query) as blocks:
        sizes = [len(block) for block in blocks]
    assert sum(sizes) == 300_000
    assert len(sizes) > 1
    with client.query_rows_stream(query) as rows:
        assert sum(row[0] for row in rows) == 300_000 * 299_999 // 2
    with client.query_column_block_stream(query) as blocks:
        assert sum(len(block[0]) for block in blocks) == 300_000
    with client.query_df_stream(query) as frames:
        assert sum(len(frame) for frame in frames) == 300_000
    with client.query_np_stream("SELECT number FROM numbers(300000)") as arrays:
        assert sum(len(array) for array in arrays) == 300_000
    with client.query_arrow_stream(query) as tables:
        assert sum(table.num_rows for table in tables) == 300_000
    raw = client.raw_query(query, fmt="CSV")
    assert raw.count(b"\n") == 300_000
    stream = client.raw_stream(query, fmt="CSV")
    assert sum(len(piece) for piece in iter(lambda: stream.read(65536), b"")) == len(raw)
    stream.close()


def test_stream_left_early(client: Client) -> None:
    """A stream that is left leaves its session usable for the next statement."""
    with client.query_rows_stream("SELECT number FROM numbers(2000000)") as rows:
        for row in rows:
            if row[0] == 10:
                break
    assert client.command("SELECT 1") == 1


def test_external_data(client: Client) -> None:
    data = ExternalData(
        file_name="actors.csv",
        data=b"Redford,1936\nPacino,1940\nbroken line\n",
        fmt="CSV",
        structure=["name String", "year UInt16"],
    )
    data.add_file(file_name="films.tsv", data=b"Pacino\tScarface\n", types="String,String")
    query = "SELECT year, _2 FROM actors JOIN films ON name = films._1 WHERE year > {y:UInt16}"
    settings = {"input_format_allow_errors_num": 1, "input_format_allow_errors_ratio": 1}
    for _ in range(2):
        result = client.query(query, parameters={"y": 1}, external_data=data, settings=settings)
        assert result.result_rows == [(1940, "Scarface")]
    assert client.raw_query("SELECT count() FROM films", external_data=data, settings=settings) == (
        b"1\n"
    )


def test_settings(client: Client) -> None:
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 3}) == 3
    client.set_client_setting("max_block_size", 100)
    assert client.command("SELECT getSetting('max_block_size')") == 100
    with pytest.raises(DatabaseError) as caught:
        client.command("SELECT 1 SETTINGS nothing_like_this = 1")
    assert caught.value.code == 115


def test_errors_have_code_and_name(client: Client) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM does_not_exist")
    assert caught.value.code == 60
    assert caught.value.name == "UNKNOWN_TABLE"
    assert client.command("SELECT 1") == 1


def test_mid_stream_errors(client: Client) -> None:
    """A failure after rows were sent is the server's error, not a broken connection."""
    slow = "SELECT sleepEachRow(0.01), throwIf(number = 100) FROM numbers(200)"
    with (
        pytest.raises(StreamFailureError, match="FUNCTION_THROW_IF") as caught,
        client.query_rows_stream(slow, settings={"max_block_size": 1}) as rows,
    ):
        list(rows)
    assert caught.value.code == 395
    large = "SELECT number, throwIf(number = 900000) FROM numbers(1000000)"
    with (
        pytest.raises(StreamFailureError, match="395"),
        client.query_row_block_stream(large, settings={"max_block_size": 10000}) as blocks,
    ):
        list(blocks)
    assert client.command("SELECT 1") == 1


def test_query_ids(client: Client) -> None:
    """A chosen id comes back, and the query log knows it, if asked also of a quick query."""
    settings = {"query_id": "chosen-by-me", "log_queries_min_query_duration_ms": 0}
    result = client.query("SELECT 17 AS logged", settings=settings)
    assert result.query_id == "chosen-by-me"
    client.command("SYSTEM FLUSH LOGS")
    logged = client.query(
        "SELECT DISTINCT query FROM system.query_log WHERE query_id = {query_id:String}",
        parameters={"query_id": "chosen-by-me"},
    )
    assert [row[0].split("\n")[0] for row in logged.result_rows] == ["SELECT 17 AS logged"]
    assert "OUTFILE" not in logged.result_rows[0][0]


def test_temporary_tables_live_in_the_session(client: Client, engine: EngineProcess) -> None:
    client.command("CREATE TEMPORARY TABLE mine (a Int32, t DateTime('Asia/Tokyo'))")
    client.insert("mine", [[1, 0]], column_names=["a", "t"])
    assert client.query("SELECT a FROM mine").result_rows == [(1,)]
    other = clickhouse_connect.get_client(**engine.driver)
    with pytest.raises(DatabaseError):
        other.query("SELECT a FROM mine")
    other.close()


def test_concurrent_use_of_a_session_is_refused(engine: EngineProcess) -> None:
    first = clickhouse_connect.get_client(session_id="shared", **engine.driver)
    stream = first.raw_stream("SELECT number FROM numbers(100000000)", fmt="TSV")
    second = clickhouse_connect.get_client(autogenerate_session_id=False, **engine.driver)
    with pytest.raises(DatabaseError) as caught:
        second.command("SELECT 1", settings={"session_id": "shared"})
    assert caught.value.code == 373
    stream.close()
    first.close_connections()
    second.close()
    first.close()


def test_database(client: Client, engine: EngineProcess) -> None:
    client.command("CREATE DATABASE IF NOT EXISTS elsewhere")
    there = clickhouse_connect.get_client(database="elsewhere", **engine.driver)
    assert there.command("SELECT currentDatabase()") == "elsewhere"
    there.command("CREATE OR REPLACE TABLE spot (a Int32) ENGINE Memory")
    there.insert("spot", [[5]])
    assert client.command("SELECT a FROM elsewhere.spot") == 5
    there.database = None
    assert there.command("SELECT currentDatabase()") == "default"
    client.command("DROP DATABASE elsewhere")
    there.close()


def test_dbapi(engine: EngineProcess) -> None:
    connection = dbapi.connect(**engine.driver)
    cursor = connection.cursor()
    cursor.execute("SELECT number FROM numbers(3) WHERE number > %(low)s", {"low": 0})
    assert cursor.fetchall() == [(1,), (2,)]
    cursor.close()
    connection.close()


@pytest.mark.anyio
async def test_async_client(async_client: AsyncClient, table: str) -> None:
    await async_client.command(f"CREATE TABLE {table} (a UInt32, s String) ENGINE Memory")
    rows = [[number, str(number)] for number in range(50_000)]
    await async_client.insert(table, rows, column_names=["a", "s"])
    await async_client.insert_df(table, pd.DataFrame({"a": [1], "s": ["x"]}))
    await async_client.insert_arrow(table, pa.table({"a": pa.array([2], pa.uint32()), "s": ["y"]}))
    await async_client.raw_insert(table, ["a", "s"], b"3\tz\n", fmt="TSV")
    assert await async_client.command(f"SELECT count() FROM {table}") == 50_003
    frame = await async_client.query_df(f"SELECT * FROM {table} LIMIT 10")
    assert len(frame) == 10
    arrow = await async_client.query_arrow(f"SELECT * FROM {table}")
    assert arrow.num_rows == 50_003
    stream = await async_client.query_rows_stream(f"SELECT a FROM {table} LIMIT 50000")
    async with stream:
        assert len([row async for row in stream]) == 50_000
    with pytest.raises(DatabaseError) as caught:
        await async_client.query("SELECT nothing")
    assert caught.value.code == 47


@pytest.mark.anyio
async def test_async_queries_overlap(async_client: AsyncClient) -> None:
    """Five queries meet in the engine at the same moment."""
    waits = [async_client.query("SELECT sleep(3), 1") for _ in range(5)]
    most, *_ = await asyncio.gather(_most_running(async_client, len(waits)), *waits)
    assert most == len(waits)


async def _most_running(client: AsyncClient, enough: int) -> int:
    most = 0
    for _ in range(1000):
        result = await client.raw_query(
            "SELECT count() FROM system.processes WHERE query LIKE '%sleep(%'", fmt="TSV"
        )
        most = max(most, int(result) - 1)
        if most >= enough:
            break
    return most


@pytest.mark.anyio
async def test_async_session_is_guarded(engine: EngineProcess) -> None:
    client = await clickhouse_connect.get_async_client(session_id="guarded", **engine.driver)
    first = asyncio.create_task(client.query("SELECT sleep(3), 'guarded'"))
    count = "SELECT count() FROM system.processes WHERE query LIKE '%''guarded''%'"

    def is_running() -> bool:
        return engine.ask(count).text == "2\n"  # and the one that asks

    assert await anyio.to_thread.run_sync(eventually, is_running)
    with pytest.raises(ProgrammingError):
        await client.query("SELECT 1")
    await first
    await client.close()


@pytest.mark.anyio
async def test_async_stream_left_early(async_client: AsyncClient) -> None:
    stream = await async_client.query_rows_stream(
        "SELECT number, repeat('x', 1000) FROM numbers(1000000)"
    )
    count = 0
    async with stream:
        async for _ in stream:
            count += 1
            if count == 1000:
                break
    assert (await async_client.query("SELECT 1")).result_rows == [(1,)]
