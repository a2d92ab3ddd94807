"""The long game against the ingest door: `scripts/fuzz [--minutes N] [--seed N] [--rounds N]`.

Plays parts of so many rounds with one seed after the other until the time is over, each on a fresh
project, and prints what was thrown and what came back; ends with 1 at the first finding, with the
seed that plays it again.
"""

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from appliance.base.clock import SystemClock
from tests.fuzz.field import Finding, play
from tests.fuzz.game import rounds
from tests.support.engines import started_engines

FINDING_CHARACTERS_MAX = 6000


def main() -> int:
    """Play until the time is over."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first part; 0 takes the clock")
    parser.add_argument("--rounds", type=int, default=500, help="of each part")
    options = parser.parse_args()
    number = options.seed or int(SystemClock().now().timestamp())
    say, log = _quiet()
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
                say(f"a finding with --seed {number} --rounds {options.rounds}; the log is {log}")
                say("".join(traceback.format_exception(finding))[-FINDING_CHARACTERS_MAX:])
                return 1
            inputs += field.inputs
            answers += field.answers
            stored, liberal, parts = stored + kept, liberal + field.liberal, parts + 1
            slowest = max(slowest, field.slowest_seconds)
            say(
                f"seed {number}: {sum(field.inputs.values())} inputs, {kept} events stored, "
                f"{monotonic() - began:.0f} s"
            )
            number += 1
    for name, count in sorted(inputs.items()):
        say(f"  {count:8} {name}")
    for name, count in sorted(answers.items()):
        say(f"  {count:8} answered {name}")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    say(
        f"{sum(inputs.values())} inputs in {monotonic() - began:.0f} s, {parts} parts; "
        f"{stored} events stored, all that were taken and no other; {liberal} taken that the "
        f"library does not read; slowest answer {slowest:.3f} s; largest process {memory} MiB"
    )
    broken = [line for line in log.read_text(errors="replace").splitlines() if _is_error(line)]
    if broken:
        say(f"{len(broken)} errors in the log {log}, the first: {broken[0]}")
        return 1
    log.unlink()
    return 0


def _quiet() -> tuple[Callable[[str], None], Path]:
    """What prints for people, and the file where the logs of all processes go from now on."""
    out = os.fdopen(os.dup(1), "w")
    descriptor, name = tempfile.mkstemp(prefix="pug-fuzz-", suffix=".log")
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)

    def say(text: str) -> None:
        print(text, file=out, flush=True)

    return say, Path(name)


def _is_error(line: str) -> bool:
    return '"level": "error"' in line or "Traceback (most recent call last)" in line


if __name__ == "__main__":
    sys.exit(main())
