"""The long game against the ingest door: `scripts/fuzz [--minutes N] [--seed N] [--rounds N]`.

Plays parts of so many rounds with one seed after the other until the time is over, each on a fresh
project, and prints what was thrown and what came back; ends with 1 at the first finding, with the
seed that plays it again.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic

from appliance.base.clock import SystemClock
from tests.fuzz.field import Finding, play
from tests.fuzz.game import rounds
from tests.support.engines import started_engines


def main() -> int:
    """Play until the time is over."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first part; 0 takes the clock")
    parser.add_argument("--rounds", type=int, default=500, help="of each part")
    options = parser.parse_args()
    number = options.seed or int(SystemClock().now().timestamp())
    inputs, answers = Counter[str](), Counter[str]()
    stored = liberal = parts = 0
    slowest = 0.0
    began = monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="pug-fuzz-") as folder,
        started_engines(Path(folder) / "pug") as engines,
    ):
        while not parts or monotonic() - began < options.minutes * 60:
            try:
                field, kept = asyncio.run(play(engines, rounds(options.rounds, number)))
            except (Finding, BaseExceptionGroup) as finding:
                print(f"a finding with --seed {number} --rounds {options.rounds}", file=sys.stderr)
                raise finding from None
            inputs += field.inputs
            answers += field.answers
            stored, liberal, parts = stored + kept, liberal + field.liberal, parts + 1
            slowest = max(slowest, field.slowest_seconds)
            print(
                f"seed {number}: {sum(field.inputs.values())} inputs, {kept} events stored, "
                f"{monotonic() - began:.0f} s",
                flush=True,
            )
            number += 1
    for name, count in sorted(inputs.items()):
        print(f"  {count:8} {name}")
    for name, count in sorted(answers.items()):
        print(f"  {count:8} answered {name}")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    print(
        f"{sum(inputs.values())} inputs in {monotonic() - began:.0f} s, {parts} parts; "
        f"{stored} events stored, all that were taken and no other; {liberal} taken that the "
        f"library does not read; slowest answer {slowest:.3f} s; largest process {memory} MiB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
