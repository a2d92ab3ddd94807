"""Upgrade and rollback cut off at every line of their journal, in one guest, under load.

    .venv/bin/python -m tests.airgap.upgrade.cut_off [--rollback] [STEP ...]      (as root)

Each place is met twice: the command alone is killed and `recover` ends it, and the whole machine
loses its power and boots. Afterwards one release or the other is in use, nothing half is left, and
every acknowledged event is there once. `AIRGAP_BUNDLES` names a folder with bundles.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from tests.support.guest import Guest, guest_machine
from tests.support.installed import REPOSITORY, Installed, Load
from tests.support.releases import Releases

SWITCH: Final = ("bridge", "return", "units", "switch", "restart", "health", "commit")
ENDING: Final = ("unbridge", "applied")
UPGRADE: Final = ("point", "place", "migrate", *SWITCH, *ENDING, "keys", "prune")
TO_POINT: Final = (
    *("rebuild", "return", "units", "switch", "quiet", "rewind", "exchange", "wake"),
    *("health", "commit", *ENDING, "tidy"),
)
KILLED: Final = frozenset({-9, 128 + 9})


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a journal, and what happens there."""

    step: str
    mark: str
    power: bool

    def decided(self, steps: tuple[str, ...]) -> bool:
        """Whether the way is forward from here."""
        after = steps.index(self.step) > steps.index("commit")
        return after or (self.step, self.mark) == ("commit", "done")

    def __str__(self) -> str:
        return f"{self.step}.{self.mark} {'power cut' if self.power else 'killed'}"


def places(steps: tuple[str, ...]) -> Iterator[Place]:
    """Every place; each step is met early on, in one of the ways."""
    for turn in (False, True):
        for step in steps:
            yield Place(step=step, mark="done" if turn else "begun", power=True)
            yield Place(step=step, mark="begun" if turn else "done", power=False)


class Sweep:
    """One guest that goes through many of them."""

    def __init__(self, guest: Guest, releases: Releases, *, rollback: bool) -> None:
        self._guest = guest
        self._appliance = Installed(guest)
        self._bundle = f"/root/{releases.second.name}"
        self._rollback = rollback
        self._number = 0
        self.steps = TO_POINT if rollback else UPGRADE
        releases.copy_into(guest, releases.second)
        releases.unpack_into(guest, releases.first)
        guest.run("./pug-appliance", "install", directory=f"/root/{releases.first_name}")
        self._appliance.make_project()

    def meet(self, place: Place) -> tuple[str, list[str]]:
        """Have one place happen; a line about it, and what is wrong afterwards."""
        self._stand_before()
        self._number += 1
        kind = f"cut_{self._number}"
        started = monotonic()
        with self._appliance.load(kind) as load:
            problems = self._cut(place)
            if not place.power:
                self._guest.run("pug-appliance", "recover")
        if place.power:
            self._guest.cut_power()
            self._guest.boot()
            self._appliance.wait_answering()
        seconds = monotonic() - started
        problems += self._look(place, kind, load)
        pause = load.report["longest_pause_seconds"]
        events = load.report["acknowledged_events"]
        line = f"{place}: {self._version()}, {events} events, pause {pause} s, {seconds:.0f} s"
        return line, problems

    def _stand_before(self) -> None:
        wanted = "0.2.0" if self._rollback else "0.1.0"
        if self._version() != wanted:
            command = ("upgrade", self._bundle) if self._rollback else ("rollback",)
            self._appliance.pug(*command)

    def _cut(self, place: Place) -> list[str]:
        command = ("rollback", "--to-restore-point", "--yes")
        if not self._rollback:
            command = ("upgrade", self._bundle)
        drill = {"PUG_DRILL": f"{place.step}.{place.mark}"}
        done = self._guest.run("pug-appliance", *command, environment=drill, check=False)
        if done.returncode in KILLED:
            return []
        return [f"status {done.returncode}: {done.stderr[-300:]}"]

    def _look(self, place: Place, kind: str, load: Load) -> list[str]:
        found: list[str] = []
        before, after = ("0.2.0", "0.1.0") if self._rollback else ("0.1.0", "0.2.0")
        wanted = after if place.decided(self.steps) else before
        if self._version() != wanted:
            found.append(f"{self._version()} is in use instead of {wanted}")
        # Before a power cut nobody ends what was killed, and clients may give up waiting for it.
        if load.count("refused") or (load.report["failures"] and not place.power):
            found.append(f"refused {load.report['refused']}, failed {load.report['failures']}")
        try:
            self._appliance.shows(kind, int(load.count("acknowledged_events")))
        except AssertionError as error:
            found.append(f"events: {error}; {self._appliance.trend(kind)} are there")
        again = self._appliance.pug("recover", check=False).stdout.strip()
        if again != "nothing was interrupted":
            found.append(f"recover says: {again}")
        if self._guest.inside("/opt/pug/bridge").is_symlink():
            found.append("the bridge is left")
        return found

    def _version(self) -> str:
        return self._guest.run("readlink", "/opt/pug/current").stdout.strip().rpartition("/")[2]


def main() -> None:
    """Go through the places and print each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollback", action="store_true", help="to the restore point")
    parser.add_argument("steps", nargs="*", help="only these")
    arguments = parser.parse_args()
    met = bad = 0
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        bundles = Path(os.environ.get("AIRGAP_BUNDLES", folder))
        with guest_machine(Path(folder), f"pugc{os.getpid() % 100000}") as guest:
            sweep = Sweep(guest, Releases(REPOSITORY, bundles), rollback=arguments.rollback)
            for place in places(sweep.steps):
                if arguments.steps and place.step not in arguments.steps:
                    continue
                line, problems = sweep.meet(place)
                met += 1
                bad += bool(problems)
                print(line, *problems, sep="\n    ", flush=True)
    print(f"{met} places, {bad} with a problem", flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
