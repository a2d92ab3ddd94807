"""What the engine never exceeds: memory, statements at once, time of a session."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.integration.clickhouse_http.engine_process import EngineProcess
from tests.integration.clickhouse_http.test_faults import SLOW, eventually, open_request, running

pytestmark = pytest.mark.integration

MEBIBYTE = 1 << 20
GROWTH_BYTES_MAX = 256 * MEBIBYTE


def test_large_result_needs_no_memory(own_engine: Callable[..., EngineProcess]) -> None:
    """A result of 1.5 GB passes through in constant memory, Native and text alike."""
    engine = own_engine()
    for output, protocol in (("TabSeparated", 0), ("JSON", 0), ("Native", 54405)):
        engine.ask("SELECT number FROM numbers(1000000) FORMAT Null")
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
        connection.request(
            "POST",
            f"/?client_protocol_version={protocol}",
            f"SELECT number, repeat('x', 100) FROM numbers(5000000) FORMAT {output}",
            engine.auth,
        )
        response = connection.getresponse()
        before = engine.resident_bytes()
        most = size = 0
        while piece := response.read(4 * MEBIBYTE):
            size += len(piece)
            most = max(most, engine.resident_bytes())
        connection.close()
        assert size > 500 * MEBIBYTE
        assert most - before < GROWTH_BYTES_MAX, output


def test_slow_reader_holds_the_query_back(engine: EngineProcess) -> None:
    """A client that does not read stops the query instead of filling the engine."""
    before = engine.resident_bytes()
    peer = open_request(engine, "/?query_id=lazy", b"SELECT number FROM system.numbers")
    assert peer.recv(1000)
    assert running(engine, "lazy")
    first = engine.rows("SELECT read_rows FROM system.processes WHERE query_id = 'lazy'")
    engine.ask("SELECT sleep(0.5)")
    second = engine.rows("SELECT read_rows FROM system.processes WHERE query_id = 'lazy'")
    assert engine.resident_bytes() - before < GROWTH_BYTES_MAX
    peer.close()
    assert eventually(lambda: not running(engine, "lazy"))
    assert int(str(second[0][0])) - int(str(first[0][0])) < 10_000_000


def test_large_insert_needs_no_memory(
    own_engine: Callable[..., EngineProcess],
) -> None:
    """The second half of a body of 1.5 GB adds nothing; a body that is held would add 0.75 GB."""
    engine = own_engine()
    engine.ask("CREATE TABLE big (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    # Merges take memory of their own whenever they run.
    engine.ask("SYSTEM STOP MERGES big")
    piece = b"".join(b"%d\t%s\n" % (number, b"x" * 90) for number in range(10_000))
    pieces = 1500
    most = {"first half": 0, "second half": 0}

    def body() -> Iterator[bytes]:
        for number in range(pieces):
            yield piece
            if number % 25 == 0:
                half = "first half" if number < pieces // 2 else "second half"
                most[half] = max(most[half], engine.resident_bytes())

    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=60)
    connection.request(
        "POST", "/?query=INSERT+INTO+big+FORMAT+TSV", body(), engine.auth, encode_chunked=True
    )
    assert connection.getresponse().status == 200
    connection.close()
    assert engine.ask("SELECT count() FROM big").text == f"{pieces * 10_000}\n"
    assert most["second half"] - most["first half"] < 400 * MEBIBYTE


def test_memory_limits(engine: EngineProcess) -> None:
    query = "SELECT groupArray(number) FROM numbers(100000000)"
    reply = engine.ask(query, max_memory_usage=50 * MEBIBYTE)
    assert reply.headers["x-clickhouse-exception-code"] == "241"
    reply = engine.ask(
        "SELECT count() FROM (SELECT groupArray(repeat('x', 100000)) FROM numbers(10000000))"
    )
    assert reply.headers["x-clickhouse-exception-code"] == "241"
    assert engine.ask("SELECT 1").text == "1\n"


def test_statements_beyond_the_limit_wait_and_are_refused(
    own_engine: Callable[..., EngineProcess],
) -> None:
    """With two slots taken the third waits its time and is told TOO_MANY_SIMULTANEOUS_QUERIES."""
    engine = own_engine(queries_max=2, wait_seconds_max=0.3)
    first = open_request(engine, "/?query_id=one", SLOW.encode())
    assert eventually(lambda: running(engine, "one"))
    second = open_request(engine, "/?query_id=two", SLOW.encode())

    def refused() -> bool:
        reply = engine.ask("SELECT 1")
        return reply.headers.get("x-clickhouse-exception-code") == "202"

    assert eventually(refused)
    assert engine.ask(method="GET", path="/ping").text == "Ok.\n"
    first.close()
    second.close()
    assert eventually(lambda: engine.ask("SELECT 1").text == "1\n")


def test_session_rules(engine: EngineProcess) -> None:
    def code(**parameters: object) -> str | None:
        return engine.ask("SELECT 1", **parameters).headers.get("x-clickhouse-exception-code")

    assert code(session_id="never", session_check=1) == "372"
    assert code(session_id="long", session_timeout=100_000) == "374"
    assert code(session_id="mine") is None
    assert code(session_id="mine", session_check=1) is None
    engine.ask("SET max_threads = 3", session_id="mine")
    value = "SELECT getSetting('max_threads'), getSetting('max_block_size')"
    usual = engine.ask("SELECT getSetting('max_block_size')").text
    assert engine.ask(value, session_id="mine", max_block_size=77).text == "3\t77\n"
    assert engine.ask(value, session_id="mine", max_threads=5).text == f"5\t{usual}"
    assert engine.ask(value, session_id="mine").text == f"3\t{usual}"
    engine.ask("CREATE DATABASE IF NOT EXISTS sessions_own")
    engine.ask("USE sessions_own", session_id="mine")
    assert engine.ask("SELECT currentDatabase()", session_id="mine").text == "sessions_own\n"
    assert (
        engine.ask("SELECT currentDatabase()", session_id="mine", database="system").text
        == "system\n"
    )
    assert engine.ask("SELECT currentDatabase()", session_id="mine").text == "sessions_own\n"
    assert engine.ask("SELECT 1", session_id="mine", close_session=1).text == "1\n"
    assert code(session_id="mine", session_check=1) == "372"
    engine.ask("DROP DATABASE sessions_own")


def test_session_expires(engine: EngineProcess) -> None:
    engine.ask("SELECT 1", session_id="brief", session_timeout=1)

    def forgotten() -> bool:
        reply = engine.ask("SELECT 1", session_id="brief", session_timeout=1, session_check=1)
        if reply.status != 200:
            return reply.headers["x-clickhouse-exception-code"] == "372"
        engine.ask("SELECT sleep(1.2)")
        return False

    assert eventually(forgotten)


def test_locked_session(engine: EngineProcess) -> None:
    peer = open_request(engine, "/?query_id=locker&session_id=locked", SLOW.encode())
    assert eventually(lambda: running(engine, "locker"))
    reply = engine.ask("SELECT 1", session_id="locked")
    assert reply.headers["x-clickhouse-exception-code"] == "373"
    peer.close()
    assert eventually(lambda: engine.ask("SELECT 1", session_id="locked").text == "1\n")


def test_queries_overlap(engine: EngineProcess) -> None:
    """Six clients are inside the engine at the same moment."""
    together = threading.Barrier(7)

    def client() -> None:
        together.wait()
        engine.ask("SELECT sleep(3), 'overlapping'")

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    together.wait()
    count = "SELECT count() FROM system.processes WHERE query LIKE '%''overlapping''%'"
    most = 0

    def enough() -> bool:
        nonlocal most
        most = max(most, int(engine.ask(count).text) - 1)
        return most >= 5

    assert eventually(enough)
    for thread in threads:
        thread.join()


def test_deduplication_token(engine: EngineProcess, table: str) -> None:
    """A block sent twice with one token counts once, in the table and behind its view."""
    view, target = f"{table}_view", f"{table}_target"
    window = "SETTINGS non_replicated_deduplication_window = 100"
    for name in (view, target):
        engine.ask(f"DROP TABLE IF EXISTS {name}")
    engine.ask(f"CREATE TABLE {table} (a UInt32) ENGINE = MergeTree ORDER BY a {window}")
    engine.ask(f"CREATE TABLE {target} (c UInt64) ENGINE = MergeTree ORDER BY tuple() {window}")
    engine.ask(f"CREATE MATERIALIZED VIEW {view} TO {target} AS SELECT count() AS c FROM {table}")
    for token in ("one", "one", "two"):
        reply = engine.ask(
            b"1\n2\n",
            query=f"INSERT INTO {table} FORMAT TSV",
            insert_deduplication_token=token,
            deduplicate_blocks_in_dependent_materialized_views=1,
        )
        assert reply.status == 200, reply.text
    assert engine.ask(f"SELECT count() FROM {table}").text == "4\n"
    assert engine.ask(f"SELECT sum(c) FROM {target}").text == "4\n"
    for name in (view, target):
        engine.ask(f"DROP TABLE {name}")


def test_flush_settings_are_on(engine: EngineProcess) -> None:
    """What is acknowledged is on the disk: the settings that flush are on by default."""
    rows = dict(
        engine.rows("SELECT name, value FROM system.merge_tree_settings WHERE name LIKE '%fsync%'")
    )
    assert rows["fsync_after_insert"] == "1"
    assert rows["fsync_part_directory"] == "1"
    assert engine.ask("SELECT getSetting('fsync_metadata')").text in {"1\n", "true\n"}


def test_idle_connections_cost_no_slot(engine: EngineProcess) -> None:
    peers = [socket.create_connection(("127.0.0.1", engine.port)) for _ in range(50)]
    assert engine.ask("SELECT 1").text == "1\n"
    for peer in peers:
        peer.close()
