"""How fast the engine takes events and answers, over HTTP on this machine.

Run: `.venv/bin/python tests/bench/clickhouse_http.py`. Figures are for one client unless said.
"""

import http.client
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import clickhouse_connect
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.integration.clickhouse_http import engine_process
from tests.integration.clickhouse_http.engine_process import EngineProcess

EVENTS_TOTAL = 300_000
PROPERTIES = 20
_TABLE = """
CREATE OR REPLACE TABLE events (
    project_id LowCardinality(String), event_id UUID, event LowCardinality(String),
    distinct_id String, time DateTime64(3, 'UTC'), session_id String,
    properties Map(LowCardinality(String), {value})
) ENGINE = MergeTree ORDER BY (project_id, event, time)
"""
_VALUES = {
    "Map(Variant)": "Variant(Bool, DateTime64(3, 'UTC'), Float64, Int64, String)",
    "Map(String)": "String",
}


def block(rows: int) -> bytes:
    def row(number: int) -> bytes:
        return msgspec.json.encode(
            {
                "project_id": "p1",
                "event_id": f"00000000-0000-4000-8000-{number:012d}",
                "event": ("page_view", "click", "purchase")[number % 3],
                "distinct_id": f"user-{number % 5000}",
                "time": f"2026-01-01 00:{number // 60 % 60:02d}:{number % 60:02d}.123",
                "session_id": f"session-{number % 900}",
                "properties": {
                    f"property_{index}": f"value {number * index % 1000}"
                    for index in range(PROPERTIES)
                },
            }
        )

    return b"\n".join(row(number) for number in range(rows))


def timed(action: Callable[[], object], count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        begin = time.perf_counter()
        action()
        times.append((time.perf_counter() - begin) * 1000)
    return sorted(times)


def inserts(engine: EngineProcess, rows: int, clients: int) -> float:
    body = block(rows)
    rounds = max(1, EVENTS_TOTAL // rows // clients)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", engine.port)
        for _ in range(rounds):
            connection.request(
                "POST", "/?query=INSERT+INTO+events+FORMAT+JSONEachRow", body, engine.auth
            )
            response = connection.getresponse()
            response.read()
            assert response.status == 200
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    stored = int(engine.ask("SELECT count() FROM events").text)
    assert stored == rows * rounds * clients
    return stored / seconds


def latencies(engine: EngineProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", engine.port)
    driver = clickhouse_connect.get_client(**engine.driver)

    def raw(target: str, query: str) -> Callable[[], object]:
        def ask() -> None:
            connection.request("POST", target, query, engine.auth)
            connection.getresponse().read()

        return ask

    for name, action in (
        (
            "GET /ping",
            lambda: (connection.request("GET", "/ping"), connection.getresponse().read()),
        ),
        ("SELECT 1, text", raw("/", "SELECT 1")),
        ("SELECT 1, Native", raw("/?client_protocol_version=54405", "SELECT 1 FORMAT Native")),
        ("SELECT 1, in a session", raw("/?session_id=bench", "SELECT 1")),
        ("SELECT 1, driver query", lambda: driver.query("SELECT 1")),
        ("SELECT 1, driver command", lambda: driver.command("SELECT 1")),
    ):
        timed(action, 20)
        times = timed(action, 300)
        print(f"{name:28} median {statistics.median(times):6.2f} ms  p99 {times[296]:6.2f} ms")
    driver.close()
    connection.close()


def reading(engine: EngineProcess) -> None:
    query = "SELECT number, repeat('x', 100) FROM numbers(5000000)"
    for output, target in (("TabSeparated", "/"), ("Native", "/?client_protocol_version=54405")):
        connection = http.client.HTTPConnection("127.0.0.1", engine.port)
        begin = time.perf_counter()
        connection.request("POST", target, f"{query} FORMAT {output}", engine.auth)
        response = connection.getresponse()
        size = 0
        while piece := response.read(1 << 20):
            size += len(piece)
        seconds = time.perf_counter() - begin
        print(f"read {output:23} {size / seconds / 1e6:8.0f} MB/s")
        connection.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench_clickhouse_") as folder:
        engine = engine_process.start(Path(folder) / "data", memory_bytes_max=4 << 30)
        try:
            latencies(engine)
            reading(engine)
            for name, value in _VALUES.items():
                for rows in (1_000, 10_000, 50_000):
                    for clients in (1, 2):
                        engine.ask(_TABLE.format(value=value))
                        speed = inserts(engine, rows, clients)
                        size = len(block(100)) / 100
                        print(
                            f"insert {name:13} blocks of {rows:6} rows, {clients} client(s): "
                            f"{speed:8.0f} events/s of {size:.0f} bytes"
                        )
            assert engine.stop() == 0
        finally:
            engine_process.end(engine)


if __name__ == "__main__":
    main()
