"""How much runs at once.

Invariant: never more than `queries_max` statements run and never more than a fixed number wait,
each for a bounded time; whoever does not fit is told TOO_MANY_SIMULTANEOUS_QUERIES and may retry.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from appliance.clickhouse_http.errors import Codes, EngineError

WAITING_PER_RUNNING: Final = 8
"""Requests that may wait for each one that runs; more than that is overload, not a burst."""


class Admission:
    """A gate for statements."""

    def __init__(self, *, queries_max: int, wait_seconds_max: float) -> None:
        self._slots = threading.BoundedSemaphore(queries_max)
        self._waiting = threading.BoundedSemaphore(queries_max * WAITING_PER_RUNNING)
        self._wait_seconds_max = wait_seconds_max
        self._queries_max = queries_max

    @contextmanager
    def admitted(self) -> Generator[None]:
        """Hold a slot; raises EngineError 202 when none becomes free in time."""
        if not self._slots.acquire(blocking=False):
            self._wait()
        try:
            yield
        finally:
            self._slots.release()

    def _wait(self) -> None:
        if not self._waiting.acquire(blocking=False):
            raise self._too_many()
        try:
            if not self._slots.acquire(timeout=self._wait_seconds_max):
                raise self._too_many()
        finally:
            self._waiting.release()

    def _too_many(self) -> EngineError:
        return EngineError(
            Codes.TOO_MANY_SIMULTANEOUS_QUERIES,
            f"Too many simultaneous queries. Maximum: {self._queries_max}",
        )
