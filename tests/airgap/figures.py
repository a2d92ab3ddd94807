"""The numbers of an installed appliance, measured in a guest without network (targets T1-T14).

Run by `scripts/figures`. Every number is measured when it is printed; a target that is missed is
printed as missed. `PUG_AIRGAP_BUNDLES` names a folder with bundles that are built already.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec

from tests.support.guest import Guest, guest_machine, why_not
from tests.support.installed import REPOSITORY, Installed
from tests.support.releases import Releases

MEGABYTE = 1 << 20


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number against its target."""

    target: str
    what: str
    value: float
    limit: float
    unit: str

    @property
    def reached(self) -> bool:
        """Whether the number is within its target; every target here is an upper limit."""
        return self.value <= self.limit


class Bench:
    """One guest with the first release, on which the figures are taken one after the other."""

    def __init__(self, guest: Guest, releases: Releases) -> None:
        self.guest = guest
        self.releases = releases
        self.appliance = Installed(guest)

    def first_answer(self) -> list[Figure]:
        """T1, and T14 for the time of the install."""
        self.releases.copy_into(self.guest, self.releases.first)
        packets = self.guest.packets_out()
        started = monotonic()
        self.guest.run("tar", "xzf", self.releases.first.name)
        where = f"/root/{self.releases.first_name}"
        self.guest.run("./pug-appliance", "install", directory=where)
        self.appliance.make_project()
        self.appliance.send("first_event", 3)
        self.appliance.shows("first_event", 3)
        seconds = monotonic() - started
        left = self.guest.packets_out() - packets
        return [
            figure("T1", "tarball to first answered question", seconds, 15, "s"),
            figure("T14", "packets that left during install and first use", left, 0, "packets"),
        ]

    def memory(self) -> list[Figure]:
        """T4: at rest, and while a million events come in and are asked for."""
        idle = self.resident_bytes() / MEGABYTE
        peak = idle
        with self.appliance.load("million", senders=3, events=500, rate=12) as load:
            end = monotonic() + 600
            while self.appliance.trend("million") < 1_000_000 and monotonic() < end:
                peak = max(peak, self.resident_bytes() / MEGABYTE)
        total = int(load.count("acknowledged_events"))
        self.appliance.shows("million", total)
        peak = max(peak, self.resident_bytes() / MEGABYTE)
        return [
            figure("T4", "memory at rest, PSS of all processes", idle, 600, "MB"),
            figure("T4", f"highest memory while {total:,} events came in", peak, 1536, "MB"),
        ]

    def bundle_size(self) -> list[Figure]:
        """T5: the bundle, and an upgrade that changes our code only."""
        whole = self.releases.first.stat().st_size / 1e6
        delta = self.releases.delta.stat().st_size / 1e6
        return [
            figure("T5", "bundle", whole, 230, "MB"),
            figure("T5", "delta bundle of a code-only upgrade", delta, 20, "MB"),
        ]

    def exposure(self) -> list[Figure]:
        """T12: what systemd-analyze says of the installed units."""
        limits = {
            "pug-appliance": 1.2,
            "pug-postgres": 0.5,
            "pug-nats": 0.5,
            "pug-clickhouse": 0.5,
        }
        found: list[Figure] = []
        for unit, limit in limits.items():
            told = self.guest.shell(
                f"systemd-analyze security --no-pager {unit}.service | tail -n 1", check=False
            ).stdout
            value = float(told.split("service:")[1].split()[0])
            found.append(figure("T12", f"exposure of {unit}", value, limit, ""))
        return found

    def upgrade(self) -> list[Figure]:
        """T7 and T8: an upgrade under load without retries, one that fails, and a rollback."""
        self.releases.copy_into(self.guest, self.releases.second)
        self.releases.copy_into(self.guest, self.releases.broken)
        with self.appliance.load("upgraded") as load:
            self.appliance.pug("upgrade", f"/root/{self.releases.second.name}")
        found = self.traffic("T7 upgrade", load.report, kind="upgraded", pause_limit=0.25)
        with self.appliance.load("failed") as load:
            failed = self.appliance.pug(
                "upgrade", f"/root/{self.releases.broken.name}", check=False
            )
        assert failed.returncode == 6, failed.stderr
        found += self.traffic("T8 failed upgrade", load.report, kind="failed", pause_limit=10)
        started = monotonic()
        with self.appliance.load("rolled_back") as load:
            self.appliance.pug("rollback")
            seconds = monotonic() - started
        found.append(figure("T8", "rollback by hand", seconds, 10, "s"))
        return found + self.traffic("T8 rollback", load.report, kind="rolled_back", pause_limit=10)

    def traffic(
        self, target: str, report: dict[str, object], *, kind: str, pause_limit: float
    ) -> list[Figure]:
        """What clients saw, and whether every acknowledged event is there once."""
        acknowledged = int(str(report["acknowledged_events"]))
        self.appliance.shows(kind, acknowledged)
        failed = float(str(report["failed"]))
        name, _, what = target.partition(" ")
        return [
            figure(name, f"{what}: refused", float(str(report["refused"])), 0, "batches"),
            figure(name, f"{what}: failed requests {report['failures']}", failed, 0, "batches"),
            figure(
                name,
                f"{what}: longest pause, {acknowledged:,} events acknowledged, each once",
                float(str(report["longest_pause_seconds"])),
                pause_limit,
                "s",
            ),
        ]

    def resident_bytes(self) -> int:
        """The proportional memory of every process of ours."""
        told = self.guest.shell(
            "for user in pug pug-postgres pug-nats pug-clickhouse; do"
            " for pid in $(pgrep -u $user); do cat /proc/$pid/smaps_rollup 2>/dev/null || true;"
            " done; done | awk '/^Pss:/ { sum += $2 } END { print sum * 1024 }'"
        ).stdout
        return int(float(told.strip() or 0))


def figure(target: str, what: str, value: float, limit: float, unit: str) -> Figure:
    """A figure with a rounded value."""
    return Figure(target=target, what=what, value=round(value, 3), limit=limit, unit=unit)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="scripts/figures", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--skip", nargs="*", default=[], help="like memory upgrade")
    arguments = parser.parse_args()
    reason = why_not()
    if reason:
        parser.error(reason)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        bundles = Path(os.environ.get("PUG_AIRGAP_BUNDLES", folder))
        releases = Releases(REPOSITORY, bundles, fast=False)
        with guest_machine(Path(folder), f"pugf{os.getpid() % 100000}") as guest:
            bench = Bench(guest, releases)
            parts: dict[str, Callable[[], list[Figure]]] = {
                "first": bench.first_answer,
                "exposure": bench.exposure,
                "size": bench.bundle_size,
                "memory": bench.memory,
                "upgrade": bench.upgrade,
            }
            for name, measure in parts.items():
                if name not in arguments.skip:
                    for found in measure():
                        show(found, as_json=arguments.json)


def show(found: Figure, *, as_json: bool) -> None:
    """One line for a figure."""
    if as_json:
        print(json.dumps({**msgspec.to_builtins(found), "reached": found.reached}), flush=True)
        return
    verdict = "reached" if found.reached else "MISSED"
    print(
        f"{found.target:<4} {verdict:<8} {found.value:>10.3f} {found.unit:<8} "
        f"(at most {found.limit:g})  {found.what}",
        flush=True,
    )


if __name__ == "__main__":
    main()
