"""Traffic that repeats what was not acknowledged, for tests that break things meanwhile."""

import threading
from collections.abc import Generator

import httpx

from tests.support.stack import Json, Stack, make_event

BATCH_EVENTS = 20
ATTEMPTS_MAX = 2000
HTTP_OK = 200


class Traffic:
    """Senders that repeat a batch until it is acknowledged, as every SDK does."""

    def __init__(self, stack: Stack, kind: str, *, batches: int) -> None:
        self._stack = stack
        self._batches = self._make(kind, batches)
        self._lock = threading.Lock()
        self.acknowledged = 0
        self.failed_attempts = 0

    def _make(self, kind: str, batches: int) -> Generator[list[Json]]:
        for _ in range(batches):
            yield [make_event(kind, distinct_id=f"anon-{number}") for number in range(BATCH_EVENTS)]

    def send_all(self) -> None:
        """Send batches until there are none left; one of several senders."""
        while True:
            with self._lock:
                batch = next(self._batches, None)
            if batch is None:
                return
            failures = self._send(batch)
            with self._lock:
                self.acknowledged += 1
                self.failed_attempts += failures

    def _send(self, batch: list[Json]) -> int:
        for failures in range(ATTEMPTS_MAX):
            try:
                if self._stack.post(batch).status_code == HTTP_OK:
                    return failures
            except httpx.TransportError:
                continue
        raise AssertionError("a batch was never acknowledged")
