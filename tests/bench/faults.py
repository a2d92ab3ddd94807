"""Thousands of kills, one seeded round after the other: see `scripts/faults`."""

import argparse
import os
import random
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import perf_counter

from tests.support.stack import Stack, running_stack, until
from tests.support.traffic import BATCH_EVENTS, Traffic

VICTIMS = "events,clickhouse,nats,api"
SENDERS = 8
BATCHES = 200
KILLS = 4
STALL_SECONDS_MAX = 60


def run_round(stack: Stack, seed: int, victims: list[str]) -> str:
    """One round of traffic with kills; raises AssertionError when anything is lost or doubled."""
    dice = random.Random(seed)
    kind = f"round_{seed}_{os.getpid()}"
    kills = [dice.choice(victims) for _ in range(KILLS)]
    moments = sorted(dice.sample(range(10, BATCHES - 20), KILLS))
    status = stack.status()
    traffic = Traffic(stack, kind, batches=BATCHES)
    began = perf_counter()
    with ThreadPoolExecutor(max_workers=SENDERS) as pool:
        senders = [pool.submit(traffic.send_all) for _ in range(SENDERS)]
        for moment, victim in zip(moments, kills, strict=True):
            until(
                lambda moment=moment: True if traffic.acknowledged >= moment else None,
                what=f"seed {seed}: {moment} batches before the kill of {victim} of {kills}",
                seconds=STALL_SECONDS_MAX,
            )
            with suppress(ProcessLookupError):
                os.kill(int(str(status[victim]["pid"])), signal.SIGKILL)
        for sender in senders:
            sender.result()
    stack.wait_ready()
    ready = perf_counter() - began
    for raw in (False, True):
        stack.trend_reaches(kind, BATCHES * BATCH_EVENTS, raw=raw)
    return (
        f"seed {seed}: killed {' '.join(kills)}; {traffic.failed_attempts} attempts failed, "
        f"{BATCHES * BATCH_EVENTS} events counted once, {ready:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victims", default=VICTIMS)
    parser.add_argument("--data-dir", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data_dir = chosen.data_dir or Path(folder) / "data"
        with running_stack(data_dir) as stack:
            for seed in range(chosen.seed, chosen.seed + chosen.rounds):
                print(run_round(stack, seed, chosen.victims.split(",")), flush=True)


if __name__ == "__main__":
    sys.exit(main())
