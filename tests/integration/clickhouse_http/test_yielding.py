"""What a statement with a priority may take: never the last places, nor all of the memory."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from appliance.clickhouse_http.limits import MEMORY_SHARE, yielding_settings, yields
from tests.integration.clickhouse_http.engine_process import EngineProcess
from tests.integration.clickhouse_http.test_faults import (
    SLOW,
    eventually,
    open_request,
    running,
    told,
)

pytestmark = pytest.mark.integration

PLACES = 4
HEAVY = "3"
MEBIBYTE = 1 << 20
NO_PLACE = "202"
NO_MEMORY = "241"


@pytest.fixture
def narrow(own_engine: Callable[..., EngineProcess]) -> EngineProcess:
    """An engine with four places and 600 MiB, where nobody waits long."""
    engine = own_engine(queries_max=PLACES, wait_seconds_max=0.1, memory_bytes_max=600 * MEBIBYTE)
    engine.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    return engine


@contextmanager
def asked(engine: EngineProcess, number: int, *, priority: str) -> Generator[list[bool]]:
    """This many statements without an end, and which of them run."""
    names = [f"heavy-{index}" for index in range(number)]
    peers = [
        open_request(engine, f"/?query_id={name}&max_threads=1&priority={priority}", SLOW.encode())
        for name in names
    ]
    try:
        for peer, name in zip(peers, names, strict=True):
            # either it runs, or its refusal has come
            assert eventually(lambda peer=peer, name=name: name in seen(engine) or told(peer))
        yield [name in seen(engine) for name in names]
    finally:
        for peer in peers:
            peer.close()
        assert eventually(lambda: not any(running(engine, name) for name in names))


def seen(engine: EngineProcess) -> set[str]:
    """The statements that run; asked with the priority of nobody, so it may need a free place."""
    reply = engine.ask("SELECT query_id FROM system.processes FORMAT TSVRaw")
    return set(reply.text.split()) if reply.status == 200 else set()


def test_rows_find_a_place_beside_any_number_of_questions(narrow: EngineProcess) -> None:
    """Six heavy questions: three run, three are refused, and every insert is taken."""
    with asked(narrow, 6, priority=HEAVY) as began:
        assert began.count(True) == PLACES - 1
        for _ in range(20):
            assert narrow.ask("INSERT INTO t VALUES (1)").status == 200
    assert narrow.ask("SELECT count() FROM t").text == "20\n"


def test_without_a_priority_they_take_every_place(narrow: EngineProcess) -> None:
    """The control: the same questions without a priority leave nothing for rows."""
    peers = [
        open_request(narrow, f"/?query_id=greedy-{index}&max_threads=1", SLOW.encode())
        for index in range(PLACES)
    ]
    try:
        assert eventually(
            lambda: (
                narrow.ask("INSERT INTO t VALUES (1)").headers.get("x-clickhouse-exception-code")
                == NO_PLACE
            )
        )
    finally:
        for peer in peers:
            peer.close()


def test_a_question_has_a_share_of_the_memory(narrow: EngineProcess) -> None:
    """A sixth of 600 MiB is too little for this one, whatever it asks for; all of it is not."""
    question = "SELECT length(groupArray(number)) FROM numbers(10000000)"
    wanted = {"max_memory_usage": 500 * MEBIBYTE, "max_threads": 1}
    refused = narrow.ask(question, priority=HEAVY, **wanted)
    assert refused.headers.get("x-clickhouse-exception-code") == NO_MEMORY
    assert narrow.ask(question, **wanted).text == "10000000\n"


def test_the_share_is_told_to_the_engine(narrow: EngineProcess) -> None:
    """Settings arrive where the engine counts, also those that were smaller than the share."""
    value = "SELECT getSetting('max_memory_usage'), getSetting('max_threads')"
    share = 600 * MEBIBYTE // MEMORY_SHARE
    assert narrow.ask(value, priority=HEAVY, max_threads=1).text == f"{share}\t1\n"
    small = narrow.ask(value, priority=HEAVY, max_threads=1, max_memory_usage=50 * MEBIBYTE)
    assert small.text == f"{50 * MEBIBYTE}\t1\n"


def test_bounds_of_a_statement_that_yields() -> None:
    """No limit at all counts as too much; a spill comes at half of the memory at the latest."""
    given = {
        "priority": "3",
        "max_memory_usage": "0",
        "max_threads": "64",
        "max_bytes_before_external_sort": "700",
    }
    assert yielding_settings(given, memory_bytes_max=6000, cores=2) == {
        "priority": "3",
        "max_memory_usage": "1000",
        "max_threads": "1",
        "max_bytes_before_external_sort": "500",
    }
    light = yielding_settings({"priority": "2"}, memory_bytes_max=6000, cores=2)
    assert light["max_threads"] == "2"
    assert not yields({})
    assert not yields({"priority": "0"})
    assert not yields({"priority": "1"})
    assert yields({"priority": "2"})
