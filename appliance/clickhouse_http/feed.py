"""Gives the engine a body as a file that can be read once.

Invariant: a body that does not arrive whole never commits: the query is killed before the end of
the file is shown to it.
"""

import os
import threading
from collections.abc import Callable, Iterator

from appliance.clickhouse_http.engine import Answer
from appliance.clickhouse_http.errors import Codes, EngineError


class Feed:
    """The rows of one statement on their way into a pipe."""

    def __init__(self, rows: Iterator[bytes], kill: Callable[[], None]) -> None:
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
            self._kill()
            raise
        finally:
            os.close(self._sink)
            thread.join()
        if isinstance(self._outcome, Answer):
            return self._outcome
        raise self._outcome or EngineError(Codes.UNKNOWN, "the statement has no outcome")

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
