"""Traffic that repeats what was not acknowledged, for tests that break things meanwhile."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic

import httpx

from tests.support.stack import Json, Stack, make_event, until

BATCH_EVENTS = 20
SENDER_EVENTS = 50
BACK_SECONDS_MAX = 90
RETRY_SECONDS = 0.05
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


class Sender:
    """Sends each batch until it is acknowledged, and remembers what was said meanwhile."""

    def __init__(self, stack: Stack, kind: str) -> None:
        self._stack = stack
        self._kind = kind
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_all)
        self.acknowledged = 0
        self.refused: list[tuple[int, str | None]] = []
        self.acknowledged_at: list[float] = []
        self.refused_at: list[float] = []

    def _send_all(self) -> None:
        while not self._stop.is_set():
            batch = [make_event(self._kind) for _ in range(SENDER_EVENTS)]
            while not self._send(batch) and not self._stop.wait(RETRY_SECONDS):
                continue

    def _send(self, batch: list[Json]) -> bool:
        try:
            answer = self._stack.post(batch)
        except httpx.TransportError:
            return False
        if answer.status_code == HTTP_OK:
            self.acknowledged += 1
            self.acknowledged_at.append(monotonic())
            return True
        self.refused_at.append(monotonic())
        self.refused.append((answer.status_code, answer.headers.get("retry-after")))
        return False

    def waits_for(self, more: int) -> None:
        """Return when so many more batches were acknowledged."""
        wanted = self.acknowledged + more
        until(
            lambda: True if self.acknowledged >= wanted else None,
            what=f"{more} more batches",
            seconds=BACK_SECONDS_MAX,
        )

    def is_refused(self, *, times: int = 5) -> None:
        """Return when batches are refused; without a reserve each refusal takes 5 s."""
        wanted = len(self.refused) + times
        until(
            lambda: True if len(self.refused) >= wanted else None,
            what="refusals",
            seconds=BACK_SECONDS_MAX,
        )

    @contextmanager
    def running(self) -> Generator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
