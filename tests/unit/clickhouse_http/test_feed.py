"""A body that does not arrive whole never commits, however late its statement begins."""

import os
import threading
from collections.abc import Iterator

import pytest

from appliance.clickhouse_http.engine import Answer, Usage
from appliance.clickhouse_http.errors import Codes, EngineError
from appliance.clickhouse_http.feed import Feed


class LateStatement:
    """Begins only after it was looked for in vain `misses` times; commits at the end of file."""

    def __init__(self, misses: int) -> None:
        self._misses = misses
        self._begun = threading.Event()
        self.descriptor = -1
        self.killed = False
        self.committed = b""

    def kill(self) -> bool:
        if self._misses:
            self._misses -= 1
            return False
        self.killed = True
        self._begun.set()
        return True

    def run(self) -> Answer:
        self._begun.wait()
        rows = b"".join(iter(lambda: os.read(self.descriptor, 65536), b""))
        if self.killed:
            raise EngineError(Codes.QUERY_WAS_CANCELLED, "killed")
        self.committed = rows
        return Answer(body=b"", usage=Usage())


def _cut_off() -> Iterator[bytes]:
    yield b"1\n"
    raise EngineError(Codes.CANNOT_DECOMPRESS, "cut off")


@pytest.mark.parametrize("misses", [0, 1, 5])
def test_kill_is_repeated_until_the_statement_was_found(misses: int) -> None:
    statement = LateStatement(misses)
    feed = Feed(_cut_off(), statement.kill)
    statement.descriptor = feed.descriptor
    with pytest.raises(EngineError) as raised:
        feed.run(statement.run)
    assert raised.value.code == Codes.CANNOT_DECOMPRESS
    assert statement.killed
    assert statement.committed == b""


def test_statement_that_ended_by_itself_is_not_waited_for() -> None:
    """Either failure may be told: that of the rows, or that of the statement that read none."""

    def refused() -> Answer:
        raise EngineError(Codes.UNKNOWN_FORMAT, "no such format")

    feed = Feed(_cut_off(), lambda: False)
    with pytest.raises(EngineError, match=r"cut off|no such format"):
        feed.run(refused)
