"""A full disk in figures (target T15): refusals, answers, recovery, and every event counted.

usage: .venv/bin/python tests/bench/full_disk.py [--bare]     (as root: it mounts a small disk)

Traffic runs while somebody takes the last byte, every engine is killed, and space is given back.
`--bare` is the control: no reserve, no ballast, no kills.
"""

import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic, sleep

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.small_disk import Filler, small_disk
from tests.support.stack import Stack, running_stack, until
from tests.support.traffic import SENDER_EVENTS, Sender

FULL_SECONDS = 10
KIND = "t15"
VICTIMS = ("postgres", "clickhouse", "nats", "api")


def main(*, bare: bool) -> int:
    """Run once and print; status 1 when an event is missing or counted twice."""
    sizes = ("0B", "0B") if bare else ("200MiB", "64MiB")
    settings = ("--set", f"disk.reserve={sizes[0]}", "--set", f"disk.ballast={sizes[1]}")
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder), mebibytes=900) as disk:
        filler = Filler(disk)
        with running_stack(disk / "data", *settings) as stack:
            sender = Sender(stack, KIND)
            with sender.running():
                sender.waits_for(50)
                filled = monotonic()
                filler.leave(0)
                sender.is_refused(times=1)
                killed = 0
                if not bare:
                    for victim in VICTIMS:
                        os.kill(stack.pid(victim), signal.SIGKILL)
                        killed += 1
                    stack.wait_ready()
                answers = _ask(stack)
                full = monotonic()
                filler.give_back()
                sender.waits_for(50)
            return _report(stack, sender, answers, filled=filled, freed=full, killed=killed)


def _ask(stack: Stack) -> list[float]:
    seconds: list[float] = []
    end = monotonic() + FULL_SECONDS
    while monotonic() < end:
        started = monotonic()
        stack.trend(KIND)
        seconds.append(monotonic() - started)
        sleep(0.05)
    return seconds


def _report(
    stack: Stack, sender: Sender, answers: list[float], *, filled: float, freed: float, killed: int
) -> int:
    stack.wait_ready()
    sent = sender.acknowledged * SENDER_EVENTS

    def counted() -> tuple[float, float] | None:
        found = stack.trend(KIND), stack.trend(KIND, raw=True)
        return found if min(found) >= sent else None

    rolled, raw = until(counted, what="every event", seconds=60)
    first = next(at for at in sender.refused_at if at >= filled)
    again = next(at for at in sender.acknowledged_at if at >= freed)
    print(f"engines killed on the full disk   {killed}")
    print(f"filled to first refusal           {first - filled:.2f} s")
    print(f"answers while refused             {dict(Counter(sender.refused))}")
    print(f"questions answered on full disk   {len(answers)}, slowest {max(answers):.2f} s")
    print(f"space back to first acknowledged  {again - freed:.2f} s")
    print(f"acknowledged                      {sent}")
    print(f"counted in roll-ups / raw         {rolled:.0f} / {raw:.0f} (one more batch is allowed)")
    return 0 if {rolled, raw} <= {sent, sent + SENDER_EVENTS} else 1


if __name__ == "__main__":
    sys.exit(main(bare="--bare" in sys.argv))
