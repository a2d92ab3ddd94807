"""What its unit does to the engine: a socket somebody else holds, no memory made executable."""

import os
import socket
from collections.abc import Callable

import pytest

from tests.integration.clickhouse_http.engine_process import EngineProcess

pytestmark = pytest.mark.integration

OFTEN = 6
"""More often than the three times after which an expression is compiled by default."""
EXPRESSION = "(a * 3 + a % 7 - b * a) + (a * b - 3)"


def linux_version() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


@pytest.mark.skipif(linux_version() < (6, 3), reason="the kernel cannot forbid it to a process")
def test_nothing_is_compiled_where_memory_cannot_become_executable(
    own_engine: Callable[..., EngineProcess],
) -> None:
    """Queries and mutations repeat an expression and succeed; told to compile, one is refused."""
    engine = own_engine(writable_code=False)
    engine.ask("CREATE TABLE t (a Int64, b Int64) ENGINE = MergeTree ORDER BY a")
    engine.ask("INSERT INTO t SELECT number, 1 FROM numbers(10000)")
    question = f"SELECT sum({EXPRESSION}), avg(a * b) FROM t GROUP BY a % 10 FORMAT Null"
    change = f"ALTER TABLE t UPDATE b = {EXPRESSION} WHERE {EXPRESSION} > 9"
    for _ in range(OFTEN):
        assert engine.ask(question).status == 200
        assert engine.ask(f"{change} SETTINGS mutations_sync = 2").status == 200
    # The control: without our setting this is what an unlucky user would see.
    forced = "compile_expressions = 1, min_count_to_compile_expression = 0"
    refused = engine.ask(f"SELECT {EXPRESSION} FROM t FORMAT Null SETTINGS {forced}")
    assert "CANNOT_MPROTECT" in refused.text


def test_a_socket_that_is_held_by_somebody_else_is_used(
    own_engine: Callable[..., EngineProcess],
) -> None:
    """Whoever connects before the engine starts, or between two engines, waits and is answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as held:
        early = socket.create_connection(held.getsockname())
        early.sendall(b"GET /ping HTTP/1.1\r\nHost: pug\r\nConnection: close\r\n\r\n")
        first = own_engine(listening=held.fileno())
        assert early.recv(1000).startswith(b"HTTP/1.1 200")
        early.close()
        assert first.port == held.getsockname()[1]
        first.stop()
        between = socket.create_connection(held.getsockname())
        between.sendall(b"GET /ping HTTP/1.1\r\nHost: pug\r\nConnection: close\r\n\r\n")
        own_engine(listening=held.fileno())
        assert between.recv(1000).startswith(b"HTTP/1.1 200")
        between.close()
