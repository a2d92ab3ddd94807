"""`kill -9` of anything in the middle of traffic loses nothing and counts nothing twice."""

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.stack import running_stack, until
from tests.support.traffic import BATCH_EVENTS, Traffic

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

BATCHES = 200
SENDERS = 8
VICTIMS = ("events", "clickhouse", "nats", "api")
KILLS = len(VICTIMS)


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
        traffic = Traffic(stack, kind, batches=BATCHES)
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
