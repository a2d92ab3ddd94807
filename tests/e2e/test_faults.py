"""`kill -9` of anything in the middle of traffic loses nothing and counts nothing twice."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.stack import Json, Stack, make_event, running_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

BATCHES = 200
BATCH_EVENTS = 20
VICTIMS = ("events", "clickhouse", "nats", "api")
KILLS = 4


def post_until_acknowledged(stack: Stack, batch: list[Json]) -> None:
    """Send a batch again until the API says that it is on disk, as every SDK does."""
    for _ in range(600):
        try:
            if stack.post(batch).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            continue
    raise AssertionError("a batch was never acknowledged")


def batches(kind: str) -> Iterator[list[Json]]:
    for _ in range(BATCHES):
        yield [make_event(kind, distinct_id=f"anon-{number}") for number in range(BATCH_EVENTS)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killing_any_process_loses_nothing_and_doubles_nothing(seed: int, data_dir: Path) -> None:
    """200 batches, four kills at seeded moments: the trend is exactly what was acknowledged."""
    dice = random.Random(seed)
    kind = f"survivor_{seed}"
    kills = dict(
        zip(
            sorted(dice.sample(range(10, BATCHES - 10), KILLS)),
            dice.sample(VICTIMS, KILLS),
            strict=True,
        )
    )
    with running_stack(data_dir) as stack:
        with ThreadPoolExecutor(max_workers=4) as pool:
            sent = []
            for number, batch in enumerate(batches(kind)):
                if number in kills:
                    stack.kill(kills[number])
                sent.append(pool.submit(post_until_acknowledged, stack, batch))
                if len(sent) > 8:
                    sent[-8].result()
            for future in sent:
                future.result()
        stack.wait_ready()
        stack.trend_reaches(kind, BATCHES * BATCH_EVENTS)
        stack.trend_reaches(kind, BATCHES * BATCH_EVENTS, raw=True)
