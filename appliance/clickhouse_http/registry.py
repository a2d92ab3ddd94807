"""The statements that run now, by the id their client gave them.

Invariant: a killed insert never reports success: chDB ends it quietly, so the mark made here
decides.
"""

import threading
from collections.abc import Callable

from appliance.clickhouse_http.errors import Codes, EngineError


class Running:
    """One statement in progress."""

    def __init__(self, query_id: str, interrupt: Callable[[], None]) -> None:
        self.query_id = query_id
        self.condemned = False
        self._interrupt = interrupt

    def condemn(self) -> None:
        """Mark as killed and wake a reader that waits for rows."""
        self.condemned = True
        self._interrupt()

    def check(self) -> None:
        """Raise EngineError 394 when the statement was killed."""
        if self.condemned:
            raise EngineError(Codes.QUERY_WAS_CANCELLED, "Query was cancelled")


class Registry:
    """All running statements of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}

    def enter(self, query_id: str, interrupt: Callable[[], None]) -> Running:
        """Note a statement; raises EngineError 216 when its id is in use."""
        with self._lock:
            if query_id in self._running:
                raise EngineError(
                    Codes.QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING,
                    f"Query with id = {query_id} is already running.",
                )
            running = Running(query_id, interrupt)
            self._running[query_id] = running
            return running

    def leave(self, running: Running) -> None:
        """Forget a statement that ended."""
        with self._lock:
            self._running.pop(running.query_id, None)

    def find(self, query_id: str) -> Running | None:
        """The running statement with this id."""
        with self._lock:
            return self._running.get(query_id)

    def names(self) -> list[str]:
        """The ids of all running statements."""
        with self._lock:
            return list(self._running)
