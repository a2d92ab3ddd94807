"""What the engine writes about itself does not grow for ever."""

import pytest

from tests.integration.clickhouse_http.engine_process import EngineProcess

pytestmark = pytest.mark.integration

QUICK = 20
_OWN_TABLES = """
SELECT name, position(create_table_query, 'TTL event_date + toIntervalDay(3)') > 0
FROM system.tables
WHERE database = 'system' AND notEmpty(data_paths)
"""


def test_the_only_table_of_its_own_has_an_end(engine: EngineProcess) -> None:
    """No text, trace, metric, part or session log: only statements, and those for three days."""
    engine.ask("SELECT sleep(0.2)")
    engine.ask("SYSTEM FLUSH LOGS")
    assert engine.rows(_OWN_TABLES) == [["query_log", 1]]


def test_only_slow_statements_are_logged(engine: EngineProcess) -> None:
    """Quick ones are many; one that takes 0.1 s or more, or asks for it, is kept once."""
    quick = [f"growth-quick-{number:02}" for number in range(QUICK)]
    for name in quick:
        assert engine.ask("SELECT sleep(0)", query_id=name).status == 200
    assert engine.ask("SELECT sleep(0.3)", query_id="growth-slow").status == 200
    engine.ask("SELECT 1", query_id="growth-asked", log_queries_min_query_duration_ms=0)
    engine.ask("SYSTEM FLUSH LOGS")
    found = engine.rows(
        "SELECT query_id, toString(type), query_duration_ms >= 100 FROM system.query_log "
        "WHERE startsWith(query_id, 'growth-') ORDER BY query_id"
    )
    others = [row[:2] for row in found if row[0] not in quick]
    assert others == [["growth-asked", "QueryFinish"], ["growth-slow", "QueryFinish"]]
    kept = [row for row in found if row[0] in quick]
    assert all(took_long for *_, took_long in kept), "a machine may be slow at times"
    assert len(kept) < QUICK
