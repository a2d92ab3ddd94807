"""What the engine does when something goes wrong around it."""

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.clickhouse_http import engine_process
from tests.integration.clickhouse_http.engine_process import EngineProcess

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60.0
SLOW = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"


def eventually(question: Callable[[], bool]) -> bool:
    """Ask until the answer is yes, or the patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if question():
            return True
        time.sleep(0.02)
    return False


def running(engine: EngineProcess, query_id: str) -> bool:
    count = engine.ask(
        "SELECT count() FROM system.processes WHERE query_id = {id:String}", param_id=query_id
    )
    return count.text == "1\n"


def open_request(
    engine: EngineProcess, target: str, body: bytes, length: int | None = None
) -> socket.socket:
    """Send a request and leave the answer unread."""
    peer = socket.create_connection(("127.0.0.1", engine.port), timeout=PATIENCE_SECONDS)
    head = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {length or len(body)}"]
    head += [f"{name}: {value}" for name, value in engine.auth.items()]
    peer.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    return peer


def told(peer: socket.socket) -> bool:
    """Whether an answer has begun to come."""
    peer.settimeout(0)
    try:
        return bool(peer.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        peer.settimeout(PATIENCE_SECONDS)


def test_silent_query_ends_when_the_client_leaves(engine: EngineProcess) -> None:
    """A query that has sent nothing yet is cancelled by a closed connection."""
    peer = open_request(engine, "/?query_id=leaver", SLOW.encode())
    assert eventually(lambda: running(engine, "leaver"))
    peer.close()
    assert eventually(lambda: not running(engine, "leaver"))


def test_streaming_query_ends_when_the_client_leaves(engine: EngineProcess) -> None:
    """A query whose reader stopped in the middle of the result is cancelled."""
    peer = open_request(engine, "/?query_id=streamer", b"SELECT number FROM system.numbers")
    assert len(peer.recv(1 << 16)) > 0
    assert running(engine, "streamer")
    peer.close()
    assert eventually(lambda: not running(engine, "streamer"))


def test_kill_query_by_the_clients_id(engine: EngineProcess) -> None:
    """KILL QUERY finds a query by the id its client chose."""
    replies: list[engine_process.Reply] = []
    thread = threading.Thread(
        target=lambda: replies.append(engine.ask(SLOW, query_id="victim")), daemon=True
    )
    thread.start()
    assert eventually(lambda: running(engine, "victim"))
    killed = engine.ask("KILL QUERY WHERE query_id = 'victim' SYNC")
    assert killed.status == 200
    thread.join(PATIENCE_SECONDS)
    assert replies[0].headers["x-clickhouse-exception-code"] == "394"
    assert replies[0].status == 500


def test_same_query_id_twice_is_refused(engine: EngineProcess) -> None:
    peer = open_request(engine, "/?query_id=twice", SLOW.encode())
    assert eventually(lambda: running(engine, "twice"))
    assert engine.ask("SELECT 1", query_id="twice").headers["x-clickhouse-exception-code"] == "216"
    peer.close()
    assert eventually(lambda: not running(engine, "twice"))


def test_killed_insert_is_an_error_and_stores_nothing(engine: EngineProcess, table: str) -> None:
    """chDB ends a killed insert without an error; the engine must not call that a success."""
    engine.ask(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    rows = b"1\n" * 1000
    peer = open_request(
        engine,
        f"/?query_id=inserter&query=INSERT+INTO+{table}+FORMAT+TSV",
        rows,
        length=10 * len(rows),
    )
    assert eventually(lambda: running(engine, "inserter"))
    assert engine.ask("KILL QUERY WHERE query_id = 'inserter' ASYNC").status == 200
    response = http.client.HTTPResponse(peer)
    response.begin()
    assert response.getheader("X-ClickHouse-Exception-Code") == "394"
    peer.close()
    assert eventually(lambda: not running(engine, "inserter"))
    assert engine.ask(f"SELECT count() FROM {table}").text == "0\n"


def test_rows_that_could_not_be_written_are_an_error(engine: EngineProcess, table: str) -> None:
    """The engine has read the rows and cannot write them, as on a full disk: status and code."""
    columns = "(a UInt64) ENGINE = MergeTree ORDER BY a"
    full = f"min_free_disk_bytes_to_perform_insert = {1 << 60}"
    assert engine.ask(f"CREATE TABLE {table} {columns} SETTINGS {full}").status == 200
    reply = engine.ask(b'{"a":1}\n', query=f"INSERT INTO {table} FORMAT JSONEachRow")
    assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (500, "243")
    assert engine.rows(f"SELECT count() FROM {table}") == [[0]]


def test_the_insert_stream_of_chdb_would_have_lost_them(tmp_path: Path) -> None:
    """The control: the same with the library's own stream succeeds, and nothing is stored."""
    program = f"""
from chdb import _chdb
handle = _chdb.connect({str(tmp_path)!r})
ask = lambda text: handle.query(text.encode(), "TSV", params={{}}).bytes()
ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a "
    "SETTINGS min_free_disk_bytes_to_perform_insert = {1 << 60}")
stream = handle.send_insert(b"INSERT INTO t", "JSONEachRow")
handle.insert_append(stream, b'{{"a":1}}')
print(handle.insert_done(stream).rows_written(), ask("SELECT count() FROM t").decode())
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["1", "0"]


def test_a_feed_that_fails_is_an_error(engine: EngineProcess, table: str) -> None:
    """A materialized view that cannot write: the client hears of it."""
    columns = "(a UInt64) ENGINE = MergeTree ORDER BY a"
    full = f"SETTINGS min_free_disk_bytes_to_perform_insert = {1 << 60}"
    for text in (
        f"CREATE TABLE {table} {columns}",
        f"CREATE TABLE {table}_sum {columns} {full}",
        f"CREATE MATERIALIZED VIEW {table}_feed TO {table}_sum AS SELECT a FROM {table}",
    ):
        assert engine.ask(text).status == 200
    reply = engine.ask(b"1\n2\n", query=f"INSERT INTO {table} FORMAT TSV")
    assert reply.headers["x-clickhouse-exception-code"] == "243"
    for text in (f"DROP VIEW {table}_feed", f"DROP TABLE {table}_sum"):
        assert engine.ask(text).status == 200


def test_insert_with_settings_in_the_statement(engine: EngineProcess, table: str) -> None:
    """SETTINGS stand behind the source of the rows, also beside a table of that name."""
    assert engine.ask(f"CREATE TABLE {table} (a UInt64) ENGINE = Memory").status == 200
    text = f"INSERT INTO {table} (a) SETTINGS insert_deduplicate = 0 FORMAT CSV"
    assert engine.ask(b"5\n", query=text).status == 200
    assert engine.ask(b"", query=f"INSERT INTO {table} FORMAT CSV").status == 200
    assert engine.rows(f"SELECT a FROM {table}") == [[5]]
    wrong = engine.ask(b"5", query=f"INSERT INTO {table}", default_format="CSV' (x")
    assert wrong.headers["x-clickhouse-exception-code"] == "73"


def test_insert_whose_client_leaves_stores_nothing(engine: EngineProcess, table: str) -> None:
    """An incomplete body is never committed, with a length or in chunks, plain or by input()."""
    engine.ask(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    rows = b"1\n" * 1000
    for number, source in enumerate(("", "SELECT+x+FROM+input('x+UInt64')+")):
        name = f"quitter{number}"
        peer = open_request(
            engine,
            f"/?query_id={name}&query=INSERT+INTO+{table}+{source}FORMAT+TSV",
            rows,
            length=10 * len(rows),
        )
        assert eventually(lambda name=name: running(engine, name))
        peer.close()
        assert eventually(lambda name=name: not running(engine, name))
    assert engine.ask(f"SELECT count() FROM {table}").text == "0\n"
    whole = engine.ask(rows, query=f"INSERT INTO {table} FORMAT TSV")
    assert whole.status == 200
    assert engine.ask(f"SELECT count() FROM {table}").text == "1000\n"


def test_insert_deadline(engine: EngineProcess, table: str) -> None:
    """max_execution_time ends an insert with an error, never with rows lost in silence."""
    engine.ask(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    target = f"/?query_id=late&max_execution_time=0.2&query=INSERT+INTO+{table}+FORMAT+TSV"
    peer = open_request(engine, target, b"1\n", length=4)
    elapsed = "SELECT elapsed > 0.3 FROM system.processes WHERE query_id = 'late'"
    assert eventually(lambda: engine.rows(elapsed) == [[1]] or told(peer))
    peer.sendall(b"2\n")
    response = http.client.HTTPResponse(peer)
    response.begin()
    assert response.getheader("X-ClickHouse-Exception-Code") == "159"
    peer.close()
    assert engine.ask(f"SELECT count() FROM {table}").text == "0\n"
    refused = engine.ask(
        b"1\n", query=f"INSERT INTO {table} SETTINGS max_execution_time = 1 FORMAT TSV"
    )
    assert refused.status == 501


def test_query_deadline(engine: EngineProcess) -> None:
    reply = engine.ask(SLOW, max_execution_time=0.2)
    assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (408, "159")


def test_two_engines_on_one_directory(
    own_engine: Callable[..., EngineProcess], tmp_path: Path
) -> None:
    """The second engine is refused and names the first."""
    first = own_engine()
    second = engine_process.spawn(tmp_path / "data")
    _, complaint = second.communicate(timeout=PATIENCE_SECONDS)
    assert second.returncode != 0
    assert f"pid {first.process.pid}" in complaint.decode()
    assert first.ask("SELECT 1").text == "1\n"


def test_taken_port_is_named(own_engine: Callable[..., EngineProcess], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        process = engine_process.spawn(tmp_path / "data", port=port)
        _, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode != 0
    assert f"cannot listen on 127.0.0.1:{port}" in complaint.decode()


def test_empty_password_is_refused(tmp_path: Path) -> None:
    process = engine_process.spawn(tmp_path / "data", password="")
    _, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode != 0
    assert "is empty" in complaint.decode()


def test_kill_9_during_inserts_leaves_whole_blocks(
    own_engine: Callable[..., EngineProcess], tmp_path: Path
) -> None:
    """After kill -9 every acknowledged block is there and none is there in part."""
    first = own_engine()
    first.ask("CREATE TABLE blocks (block UInt32, a UInt64) ENGINE = MergeTree ORDER BY block")
    acknowledged: list[int] = []
    block_rows = 1000

    def insert() -> None:
        for block in range(100_000):
            rows = b"".join(b"%d\t%d\n" % (block, row) for row in range(block_rows))
            try:
                reply = first.ask(rows, query="INSERT INTO blocks FORMAT TSV")
            except (OSError, http.client.HTTPException):
                return
            if reply.status == 200:
                acknowledged.append(block)

    thread = threading.Thread(target=insert, daemon=True)
    thread.start()
    assert eventually(lambda: len(acknowledged) > 20)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(PATIENCE_SECONDS)
    thread.join(PATIENCE_SECONDS)
    second = own_engine(tmp_path / "data")
    counts = dict(second.rows("SELECT block, toUInt32(count()) FROM blocks GROUP BY block"))
    assert set(acknowledged) <= set(counts)
    assert set(counts.values()) == {block_rows}
    assert len(counts) <= len(acknowledged) + 1


def test_term_drains_and_reopens(own_engine: Callable[..., EngineProcess], tmp_path: Path) -> None:
    """A running statement is finished, an endless one is killed, and the exit status is 0."""
    first = own_engine()
    first.ask("CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a")
    first.ask(b"7\n", query="INSERT INTO kept FORMAT TSV")
    endless = open_request(first, "/?query_id=endless", SLOW.encode())
    assert eventually(lambda: running(first, "endless"))
    idle = socket.create_connection(("127.0.0.1", first.port))
    assert first.stop() == 0
    idle.close()
    endless.close()
    second = own_engine(tmp_path / "data")
    assert second.ask("SELECT a FROM kept").text == "7\n"
    assert second.stop(signal.SIGINT) == 0


def test_garbage_on_the_socket(engine: EngineProcess) -> None:
    for garbage in (b"\x00\xff\x16garbage\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\n"):
        with socket.create_connection(("127.0.0.1", engine.port), timeout=PATIENCE_SECONDS) as peer:
            peer.sendall(garbage)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(4096):
                pass
    assert engine.ask("SELECT 1").text == "1\n"
