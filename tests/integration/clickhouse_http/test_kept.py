"""Connections and threads are kept for the next statement, and no client can tell."""

import threading

import pytest

from appliance.clickhouse_http.threads import StatementThreads
from tests.integration.clickhouse_http.engine_process import EngineProcess

pytestmark = pytest.mark.integration

_VALUE = "SELECT getSetting('max_block_size')"


def test_settings_stay_with_their_request(engine: EngineProcess) -> None:
    """Whatever was asked before, a statement has its own settings and otherwise the defaults."""
    default = engine.ask(_VALUE).text
    for _ in range(3):
        assert engine.ask(_VALUE, max_block_size=1234).text == "1234\n"
        assert engine.ask(_VALUE, max_block_size=4321).text == "4321\n"
        assert engine.ask(_VALUE).text == default
    assert engine.ask(_VALUE + " SETTINGS max_block_size = 77").text == "77\n"
    assert engine.ask(_VALUE).text == default


@pytest.mark.parametrize(("name", "value"), [("max_query_size", 30), ("allow_ddl", 0)])
def test_settings_that_hinder_preparation(engine: EngineProcess, name: str, value: int) -> None:
    """Settings meant for the statement do not keep the next one from beginning."""
    path = f"/?database=default&client_protocol_version=54406&{name}={value}"
    replies = [engine.ask("SELECT 1 FORMAT Native", path=path) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert len({reply.body for reply in replies}) == 1


def test_readonly_stays_with_its_request(engine: EngineProcess) -> None:
    assert engine.ask("SELECT 1", readonly=1).text == "1\n"
    assert engine.ask("SELECT getSetting('readonly')").text == "0\n"


def test_database_stays_with_its_request(engine: EngineProcess) -> None:
    engine.ask("CREATE DATABASE kept_one")
    for _ in range(2):
        assert engine.ask("SELECT currentDatabase()", database="kept_one").text == "kept_one\n"
        assert engine.ask("SELECT currentDatabase()").text == "default\n"
    engine.ask("DROP DATABASE kept_one")
    assert "UNKNOWN_DATABASE" in engine.ask("SELECT 1", database="kept_one").text


def test_parameters_stay_with_their_request(engine: EngineProcess) -> None:
    assert engine.ask("SELECT {a:Int32}", param_a=5).text == "5\n"
    assert "is not set" in engine.ask("SELECT {a:Int32}").text


def test_ids_stay_with_their_request(engine: EngineProcess) -> None:
    for number in range(3):
        name = f"kept-{number}"
        reply = engine.ask("SELECT query_id FROM system.processes", query_id=name)
        assert name in reply.text.split()
        assert f"kept-{number - 1}" not in reply.text.split()


@pytest.mark.parametrize("form", ["TSV", "Native", "JSON"])
def test_read_table_is_free_at_once(engine: EngineProcess, form: str) -> None:
    """A kept connection holds nothing of the table its statement read."""
    for _ in range(2):
        engine.ask("CREATE TABLE kept_table (a UInt64) ENGINE = MergeTree ORDER BY a")
        engine.ask("INSERT INTO kept_table SELECT number FROM numbers(1000)")
        for text in ("SELECT sum(a) FROM kept_table", "SELECT a FROM kept_table WHERE a > 5000"):
            asked = engine.ask(f"{text} FORMAT {form}", client_protocol_version=54406)
            assert asked.status == 200
        assert engine.ask("DROP TABLE kept_table SYNC").status == 200


def test_statement_after_failed_ones(engine: EngineProcess) -> None:
    """A failure before or inside the answer leaves nothing to the next statement."""
    for _ in range(3):
        assert engine.ask("SELECT nothing").status == 404
        late = "SELECT throwIf(number = 3000000) FROM numbers(4000000)"
        assert "FUNCTION_THROW_IF" in engine.ask(late, buffer_size=1000).text
        assert engine.ask("SELECT 1").text == "1\n"


def test_thread_is_used_again_unless_its_statement_failed() -> None:
    threads = StatementThreads()
    seen: list[int] = []

    def work(*, well: bool) -> bool:
        seen.append(threading.get_ident())
        return well

    assert threads.start(lambda: work(well=True)).wait(10)
    assert threads.start(lambda: work(well=False)).wait(10)
    kept = threading.Event()
    failed = next((t for t in threading.enumerate() if t.ident == seen[0]), None)
    if failed is not None:
        failed.join(10)
    busy = threads.start(lambda: kept.wait(10))
    assert threads.start(lambda: work(well=True)).wait(10)
    kept.set()
    assert busy.wait(10)
    assert seen[0] == seen[1]
    assert failed is None or not failed.is_alive()
