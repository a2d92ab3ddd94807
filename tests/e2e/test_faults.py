"""`kill -9` of anything in the middle of traffic loses nothing and counts nothing twice."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.stack import Json, Stack, make_event, running_stack, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

BATCHES = 200
BATCH_EVENTS = 20
SENDERS = 8
ATTEMPTS_MAX = 2000
VICTIMS = ("events", "clickhouse", "nats", "api")
KILLS = len(VICTIMS)


class Traffic:
    """Senders that repeat a batch until it is acknowledged, as every SDK does."""

    def __init__(self, stack: Stack, kind: str) -> None:
        self._stack = stack
        self._batches = self._make(kind)
        self._lock = threading.Lock()
        self.acknowledged = 0
        self.failed_attempts = 0

    def _make(self, kind: str) -> Iterator[list[Json]]:
        for _ in range(BATCHES):
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
                if self._stack.post(batch).status_code == httpx.codes.OK:
                    return failures
            except httpx.TransportError:
                continue
        raise AssertionError("a batch was never acknowledged")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killing_any_process_loses_nothing_and_doubles_nothing(seed: int, data_dir: Path) -> None:
    """200 batches, every process killed at a seeded moment: the trend is what was acknowledged.

    The control: a client that sends each batch once would have lost events, so the kills did hit.
    """
    dice = random.Random(seed)
    kind = f"survivor_{seed}"
    moments = sorted(dice.sample(range(10, BATCHES - 20), KILLS))
    victims = dice.sample(VICTIMS, KILLS)
    with running_stack(data_dir) as stack:
        pids = {victim: stack.pid(victim) for victim in victims}
        traffic = Traffic(stack, kind)
        with ThreadPoolExecutor(max_workers=SENDERS) as pool:
            senders = [pool.submit(traffic.send_all) for _ in range(SENDERS)]
            for moment, victim in zip(moments, victims, strict=True):
                until(
                    lambda moment=moment: True if traffic.acknowledged >= moment else None,
                    what=f"{moment} batches acknowledged",
                    seconds=120,
                )
                os.kill(pids[victim], signal.SIGKILL)
            for sender in senders:
                sender.result()
        assert traffic.acknowledged == BATCHES
        assert traffic.failed_attempts > 0
        stack.wait_ready()
        stack.trend_reaches(kind, BATCHES * BATCH_EVENTS)
        stack.trend_reaches(kind, BATCHES * BATCH_EVENTS, raw=True)
