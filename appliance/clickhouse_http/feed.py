"""Gives the engine a body as a file that can be read once.

Invariant: a body that does not arrive whole never commits: the query is killed before the end of
the file is shown to it. What the engine says about the rows is what the client hears: this, and not
chDB's own insert stream, because that reports success for rows it could not write.
"""

import os
import threading
from collections.abc import Callable, Iterator
from typing import Final

from appliance.clickhouse_http.engine import Answer, Connection
from appliance.clickhouse_http.errors import Codes, EngineError
from appliance.clickhouse_http.statement import insert_from_file

_KILL_AGAIN_SECONDS: Final = 0.01


def insert_rows(
    connection: Connection,
    text: str,
    rows: Iterator[bytes],
    *,
    rows_format: str,
    kill: Callable[[], bool],
) -> Answer:
    """Run an INSERT whose rows come as bytes; `kill` ends it when they do not come whole
    and tells whether it found it.

    Raises EngineError, also when the rows were read and could not be written.
    """
    if not rows_format.isidentifier():
        raise EngineError(Codes.UNKNOWN_FORMAT, f"Unknown format {rows_format}")
    feed = Feed(rows, kill)
    text = insert_from_file(text, f"/proc/self/fd/{feed.descriptor}", rows_format)
    return feed.run(lambda: connection.run(text.encode("latin-1")))


class Feed:
    """The rows of one statement on their way into a pipe."""

    def __init__(self, rows: Iterator[bytes], kill: Callable[[], bool]) -> None:
        self._rows = rows
        self._kill = kill
        self.descriptor, self._sink = os.pipe2(os.O_CLOEXEC)
        self._outcome: Answer | EngineError | None = None

    def run(self, statement: Callable[[], Answer]) -> Answer:
        """Run `statement` while the rows flow; raises its EngineError or that of the rows."""
        thread = threading.Thread(
            target=self._work, args=(statement,), name="statement", daemon=True
        )
        thread.start()
        try:
            self._pump()
        except BrokenPipeError:
            pass  # the statement has ended early; its own outcome says why
        except BaseException:
            self._end(thread)
            raise
        finally:
            os.close(self._sink)
            thread.join()
        if isinstance(self._outcome, Answer):
            return self._outcome
        raise self._outcome or EngineError(Codes.UNKNOWN, "the statement has no outcome")

    def _end(self, thread: threading.Thread) -> None:
        """Kill the statement for certain: one that is only about to begin is not found yet."""
        while thread.is_alive() and not self._killed():
            thread.join(_KILL_AGAIN_SECONDS)

    def _killed(self) -> bool:
        try:
            return self._kill()
        except EngineError:
            return False

    def _pump(self) -> None:
        for piece in self._rows:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._sink, view) :]

    def _work(self, statement: Callable[[], Answer]) -> None:
        try:
            self._outcome = statement()
        except EngineError as error:
            self._outcome = error
        finally:
            os.close(self.descriptor)
