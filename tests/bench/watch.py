"""What a running stack says about itself while it is loaded: counters, freshness, processors."""

import re
from pathlib import Path

import httpx
import msgspec
import psutil

from appliance.config.connection import Connection
from tests.support.stack import pug, until

_BUCKET = re.compile(r'worker_freshness_seconds_bucket\{worker="events",le="([^"]+)"\} (\S+)')
_ROWS = re.compile(r'worker_rows_total\{worker="events"\} (\S+)')
_REPEATED = re.compile(r'worker_repeated_rows_total\{worker="events"\} (\S+)')
TOLD_SECONDS_MAX = 30


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Rows stored by the events worker, and how fresh they were, by the ends of bins."""

    rows: float
    freshness: dict[float, float]


def read_numbers(connection: Connection) -> Numbers:
    """The counters of `/metrics` as they are now."""
    text = httpx.get(connection.url + "/metrics", timeout=30).text
    return Numbers(
        rows=sum(float(found) for found in _ROWS.findall(text) + _REPEATED.findall(text)),
        freshness={float(end): float(count) for end, count in _BUCKET.findall(text)},
    )


def wait_told(connection: Connection, before: Numbers, rows: int) -> Numbers:
    """The counters once the worker has told that it stored so many rows more."""

    def told() -> Numbers | None:
        now = read_numbers(connection)
        return now if now.rows - before.rows >= rows else None

    return until(told, what="the worker's numbers", seconds=TOLD_SECONDS_MAX, pause=0.2)


def freshness(before: Numbers, after: Numbers, share: float) -> float:
    """Seconds from acceptance to visible that this share of the events did not exceed.

    Read from bins, so it is the place within the bin, as Prometheus' `histogram_quantile` has it.
    """
    below = {
        end: count - before.freshness.get(end, 0.0)
        for end, count in sorted(after.freshness.items())
    }
    wanted = share * max(below.values(), default=0.0)
    start, passed = 0.0, 0.0
    for end, count in below.items():
        if count >= wanted and count > passed:
            if end == float("inf"):
                return start
            return start + (end - start) * (wanted - passed) / (count - passed)
        start, passed = end, count
    return start


class Processors:
    """Processor time of every component, its children included, and of this load generator."""

    def __init__(self, data_dir: Path) -> None:
        told = msgspec.json.decode(pug("status", "--json", data_dir=data_dir).stdout)
        self._roots = {
            line["name"]: psutil.Process(line["pid"])
            for line in told["components"]
            if isinstance(line.get("pid"), int)
        }
        self._roots["load generator"] = psutil.Process()
        self._before = self._now()

    def used(self) -> dict[str, float]:
        """Seconds used by each since the last question; who used next to none is left out."""
        now = self._now()
        used = {name: now[name] - self._before.get(name, 0.0) for name in now}
        self._before = now
        return {name: round(seconds, 2) for name, seconds in used.items() if seconds > 0.01}

    def _now(self) -> dict[str, float]:
        return {name: _seconds(root) for name, root in self._roots.items()}


def _seconds(root: psutil.Process) -> float:
    total = 0.0
    family = [root]
    if root.pid != psutil.Process().pid:
        family += root.children(recursive=True)
    for process in family:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
