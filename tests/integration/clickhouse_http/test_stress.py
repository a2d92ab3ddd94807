"""Many clients at once, every kind of statement, some of them rude."""

import contextlib
import random
import threading
from pathlib import Path

import pytest

from tests.integration.clickhouse_http.engine_process import EngineProcess
from tests.integration.clickhouse_http.test_faults import eventually, open_request

pytestmark = pytest.mark.integration

THREADS = 8
STATEMENTS_PER_THREAD = 250


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_mixed_statements_in_parallel(engine: EngineProcess, seed: int) -> None:  # noqa: C901 a list of statements
    """Two thousand mixed statements over eight threads: right answers, right errors, no crash."""
    engine.ask("CREATE OR REPLACE TABLE stress (t UInt8, a UInt64) ENGINE = MergeTree ORDER BY a")
    inserted = [0] * THREADS
    failures: list[str] = []

    def work(thread: int) -> None:
        dice = random.Random(seed * 100 + thread)
        for step in range(STATEMENTS_PER_THREAD):
            try:
                _one(dice, thread, step)
            except Exception as error:  # noqa: BLE001 collected and shown by the main thread
                failures.append(f"{thread}/{step}: {error!r}")
                return

    def _one(dice: random.Random, thread: int, step: int) -> None:
        choice = dice.randrange(9)
        if choice == 0:
            count = dice.randrange(1, 2000)
            rows = b"".join(b"%d\t%d\n" % (thread, number) for number in range(count))
            assert engine.ask(rows, query="INSERT INTO stress FORMAT TSV").status == 200
            inserted[thread] += count
        elif choice == 1:
            rows = engine.rows(f"SELECT count() FROM stress WHERE t = {thread}")
            assert rows == [[inserted[thread]]]
        elif choice == 2:
            number = dice.randrange(1, 300_000)
            reply = engine.ask(f"SELECT number FROM numbers({number}) FORMAT Native", compress=1)
            assert reply.status == 200
        elif choice == 3:
            assert engine.ask("SELECT nothing").status == 404
        elif choice == 4:
            peer = open_request(
                engine, f"/?query_id=rude-{thread}-{step}", b"SELECT * FROM system.numbers"
            )
            peer.recv(1000)
            peer.close()
        elif choice == 5:
            name = f"s-{thread}"
            assert engine.ask("SET max_threads = 2", session_id=name).status == 200
            assert engine.ask("SELECT getSetting('max_threads')", session_id=name).text == "2\n"
        elif choice == 6:
            table = f"stress_{thread}"
            assert engine.ask(f"CREATE TABLE {table} (a Int32) ENGINE = Memory").status == 200
            assert engine.ask(f"INSERT INTO {table} SELECT 1").status == 200
            assert engine.ask(f"DROP TABLE {table} SYNC").status == 200
        elif choice == 7:
            query = "SELECT sum(cityHash64(number)) > 0 FROM numbers(1000000)"
            assert engine.ask(query).text == "1\n"
        else:
            assert engine.ask("KILL QUERY WHERE query_id LIKE 'rude%' ASYNC").status == 200

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert engine.process.poll() is None
    assert engine.rows("SELECT count() FROM stress") == [[sum(inserted)]]
    rude = "SELECT count() FROM system.processes WHERE query_id LIKE 'rude%'"
    assert eventually(lambda: engine.ask(rude).text == "0\n")
    engine.ask("DROP TABLE stress")


def test_nothing_is_left_behind(engine: EngineProcess) -> None:
    """Sockets and pipes go when their clients go."""
    engine.ask("SELECT 1")
    before = _usage(engine)
    for number in range(200):
        engine.ask(f"SELECT {number}")
        engine.ask("SELECT nothing")
        peer = open_request(engine, "/", b"SELECT * FROM system.numbers")
        peer.recv(100)
        peer.close()
    assert eventually(lambda: _usage(engine) <= before + 5)


def _usage(engine: EngineProcess) -> int:
    """Sockets and pipes the engine holds; its table files come and go with merges."""
    folder = Path(f"/proc/{engine.process.pid}/fd")
    targets = []
    for name in folder.iterdir():
        with contextlib.suppress(OSError):
            targets.append(str(name.readlink()))
    return sum(target.startswith(("socket:", "pipe:")) for target in targets)
