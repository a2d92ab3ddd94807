"""Every column type, through the driver, in and out."""

import datetime as dt
import ipaddress
import uuid
from collections.abc import Iterator
from decimal import Decimal
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.external import ExternalData

from tests.integration.clickhouse_http.engine_process import EngineProcess

pytestmark = pytest.mark.integration

_SETTINGS = {
    "allow_suspicious_low_cardinality_types": 1,
    "enable_time_time64_type": 1,
    "allow_experimental_bfloat16_type": 1,
    "allow_experimental_qbit_type": 1,
}
_MOMENT = dt.datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001 the driver gives naive UTC


@pytest.fixture(scope="module")
def typed_client(engine: EngineProcess) -> Iterator[Client]:
    connected = clickhouse_connect.get_client(settings=_SETTINGS, **engine.driver)
    try:
        yield connected
    finally:
        connected.close()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        *[(f"Int{bits}", [-(2 ** (bits - 1)), 0, 2 ** (bits - 1) - 1]) for bits in (8, 16, 32, 64)],
        *[(f"UInt{bits}", [0, 7, 2**bits - 1]) for bits in (8, 16, 32, 64, 128, 256)],
        ("Int128", [-(2**127), 2**127 - 1]),
        ("Int256", [-(2**255), 2**255 - 1]),
        ("Float32", [0.5, -1.25]),
        ("Float64", [0.1, -1e300]),
        ("BFloat16", [0.5, -2.0]),
        ("Bool", [True, False]),
        ("String", ["", "zoë 日本", "x" * 1000]),
        ("FixedString(4)", [b"abcd", b"wxyz"]),
        ("Decimal32(3)", [Decimal("1.234"), Decimal("-99999.999")]),
        ("Decimal64(4)", [Decimal("12345678.1234")]),
        ("Decimal128(10)", [Decimal("-12345678901234567890.0123456789")]),
        ("Decimal256(20)", [Decimal("12345678901234567890.01234567890123456789")]),
        ("UUID", [uuid.UUID(int=1), uuid.UUID("61f0c404-5cb3-11e7-907b-a6006ad3dba0")]),
        ("IPv4", [ipaddress.IPv4Address("1.2.3.4")]),
        ("IPv6", [ipaddress.IPv6Address("2001:db8::1")]),
        ("Date", [dt.date(1970, 1, 1), dt.date(2149, 6, 6)]),
        ("Date32", [dt.date(1925, 1, 1), dt.date(2283, 11, 11)]),
        ("DateTime", [_MOMENT]),
        ("DateTime64(3)", [_MOMENT.replace(microsecond=123000)]),
        ("DateTime64(6)", [_MOMENT.replace(microsecond=123456)]),
        ("Time", [dt.timedelta(hours=1, seconds=5)]),
        ("Time64(3)", [dt.timedelta(hours=1, milliseconds=5)]),
        ("Enum8('a' = 1, 'b' = -2)", ["a", "b"]),
        ("Enum16('a' = 1, 'b' = 1000)", ["a", "b"]),
        ("Nullable(Int32)", [1, None]),
        ("Nullable(String)", ["", None]),
        ("LowCardinality(String)", ["a", "b", "a"]),
        ("LowCardinality(Nullable(String))", ["a", None, "a"]),
        ("LowCardinality(UInt32)", [1, 2, 1]),
        ("Array(Int32)", [[], [1, 2]]),
        ("Array(Array(Nullable(String)))", [[["a", None], []], []]),
        ("Array(LowCardinality(String))", [["a", "b"], []]),
        ("Tuple(Int32, String)", [(1, "a"), (2, "b")]),
        ("Map(String, Int32)", [{}, {"a": 1, "b": 2}]),
        ("Map(LowCardinality(String), Array(Int32))", [{"a": [1, 2]}, {}]),
        ("Variant(Int64, String, Bool)", [1, "x", True, None]),
        (
            "Map(LowCardinality(String), Variant(Bool, Float64, Int64, String))",
            [{"a": 1, "b": "x", "c": True, "d": 1.5}, {}],
        ),
        ("Dynamic", ["x"]),
        ("JSON", [{"a": 1, "b": {"c": "x"}}, {}]),
        ("Point", [(1.5, -2.5)]),
        ("Ring", [[(0.0, 0.0), (1.0, 1.0)]]),
        ("Polygon", [[[(0.0, 0.0), (1.0, 1.0)]]]),
        ("SimpleAggregateFunction(sum, UInt64)", [1, 2]),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_round_trip(typed_client: Client, table: str, kind: str, values: list[object]) -> None:
    typed_client.command(
        f"CREATE TABLE {table} (k UInt32, v {kind}) ENGINE MergeTree ORDER BY k", settings=_SETTINGS
    )
    rows = [[number, value] for number, value in enumerate(values)]
    typed_client.insert(table, rows, column_names=["k", "v"])
    result = typed_client.query(f"SELECT v FROM {table} ORDER BY k")
    assert [row[0] for row in result.result_rows] == values


def test_nested(typed_client: Client, table: str) -> None:
    typed_client.command(
        f"CREATE TABLE {table} (k UInt32, n Nested(a Int32, b String)) ENGINE MergeTree ORDER BY k",
        settings={"flatten_nested": 0},
    )
    value = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    typed_client.insert(table, [[1, value]], column_names=["k", "n"])
    assert typed_client.query(f"SELECT n FROM {table}").first_row == (value,)


def test_aggregate_states_come_out_final(typed_client: Client, table: str) -> None:
    typed_client.command(
        f"CREATE TABLE {table} (k UInt32, v AggregateFunction(uniq, UInt64)) "
        "ENGINE AggregatingMergeTree ORDER BY k"
    )
    typed_client.command(f"INSERT INTO {table} SELECT 1, uniqState(number) FROM numbers(100)")
    assert typed_client.command(f"SELECT uniqMerge(v) FROM {table}") == 100


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_zones_of_plain_date_times(typed_client: Client, table: str, zone: str) -> None:
    """A DateTime column keeps its zone among columns of every kind, in every block."""
    typed_client.command(
        f"CREATE TABLE {table} (k UInt32, `a.b` DateTime('{zone}'), s String, "
        f"u DateTime, n Nullable(DateTime('{zone}')), z DateTime('{zone}')) "
        "ENGINE MergeTree ORDER BY k"
    )
    typed_client.command(
        f"INSERT INTO {table} SELECT number, number, 'DateTime', number, number, number "
        "FROM numbers(100000)"
    )
    query = f"SELECT `a.b`, s, u, n, z FROM {table} ORDER BY k"
    with typed_client.query_rows_stream(query, settings={"max_block_size": 10_000}) as rows:
        for number, row in enumerate(rows):
            moment = dt.datetime.fromtimestamp(number, ZoneInfo(zone))
            shown = moment.replace(tzinfo=None) if zone == "UTC" else moment
            assert (row[0], row[1], row[3], row[4]) == (shown, "DateTime", shown, shown)
    raw = typed_client.raw_query(
        "SELECT toDateTime(1676369730, 'Asia/Shanghai') AS dt FORMAT Native",
        settings={"client_protocol_version": 54337},
    )
    assert raw[14:39] == b"DateTime('Asia/Shanghai')"


def test_zone_of_a_parameter_and_of_tables_of_one_session(typed_client: Client) -> None:
    typed_client.command("CREATE TEMPORARY TABLE own (t DateTime('Asia/Tokyo'))")
    typed_client.insert("own", [[_MOMENT]], column_names=["t"])
    assert typed_client.query("SELECT t FROM own").first_row[0].tzinfo is not None
    typed_client.command("DROP TABLE own")
    data = ExternalData(
        file_name="ext.tsv", data=b"1970-01-01 09:00:00", structure="t DateTime('Asia/Tokyo')"
    )
    assert typed_client.query("SELECT t FROM ext", external_data=data).first_row[0].hour == 9
    row = typed_client.query(
        "SELECT {t:DateTime('Asia/Tokyo')} AS t", parameters={"t": _MOMENT}
    ).first_row
    assert row[0].tzinfo is not None
