"""Sustained ingest, end to end: posted, acknowledged on disk, inserted, in the roll-up.

    scripts/bench ingest [--json] [--seconds 6] [--connections 4] [--forms json,proto]
                         [--batches 1,20,100,1000] [--data-dir DIR]

Starts a stack of its own, or drives the running one of DIR. For each form and size of batch it
sends as fast as it can for some seconds, waits until everything is visible, and compares both
counts with what was acknowledged; then the same at 10,000 events a second, which is where latency
and freshness are promised (T2 of the targets). Ends with 1 when a count is wrong.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep
from uuid import uuid4

import httpx
import msgspec

from appliance.config.connection import Connection, load_connection
from tests.bench.load import Template, send_for
from tests.bench.watch import Processors, freshness, read_numbers, wait_told
from tests.support.stack import running_stack

QUERY = "/shared.insights.v1.InsightsService/Query"
VISIBLE_SECONDS_MAX = 60
PROMISED_RATE = 10_000
PROMISED_BATCH = 100
TARGETS = {"json": 25_000, "proto": 20_000}
WARM_SECONDS = 1.0


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What one form and size of batch did; `rate` 0 is as fast as it went. Times are of POSTs.

    `processor_us` is processor time an event, of each process; freshness is from acceptance until
    the event can be asked for.
    """

    form: str
    batch: int
    batch_bytes: int
    rate: int
    events: int
    accepted_per_second: int
    stored_per_second: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    fresh_p50_seconds: float
    fresh_p95_seconds: float
    fresh_p99_seconds: float
    lag_seconds_at_end: float
    counted_rollup: int
    counted_raw: int
    processor_us: dict[str, float]
    cores_used: float

    @property
    def exact(self) -> bool:
        """Whether both counts are what was acknowledged."""
        return self.counted_rollup == self.counted_raw == self.events


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    at: str
    machine: str
    seconds: float
    connections: int
    load_before: float
    cells: list[Cell]
    verdict: dict[str, str]


def count_visible(connection: Connection, kind: str, *, raw: bool) -> float:
    """The trend of today and its neighbours, from the roll-up or the raw events."""
    day = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    event: dict[str, object] = {"kind": kind}
    if raw:
        event["filters"] = [{"property": "surely", "operator": "FILTER_OPERATOR_IS_NOT_SET"}]
    request = {
        "spec": {"insightType": "INSIGHT_TYPE_TRENDS", "events": [{"event": event}]},
        "granularity": "GRANULARITY_DAY",
        "timeRange": {
            "from": datetime.fromtimestamp(day - 86400, tz=UTC).isoformat(),
            "to": datetime.fromtimestamp(day + 2 * 86400, tz=UTC).isoformat(),
        },
    }
    answer = httpx.post(
        connection.url + QUERY,
        json=request,
        headers={"x-api-key": connection.private_key},
        timeout=60,
    )
    answer.raise_for_status()
    series = answer.json()["trends"].get("series", [])
    return sum(point["value"] for line in series for point in line["points"])


def measure(
    connection: Connection,
    processors: Processors,
    *,
    form: str,
    batch: int,
    rate: int,
    seconds: float,
    connections: int,
) -> Cell:
    """Load the stack once and wait until everything is visible."""
    kind = f"bench_{uuid4().hex[:8]}"
    template = Template(connection, kind, form, batch)
    before = read_numbers(connection)
    processors.used()
    sent = send_for(template, connection, seconds=seconds, connections=connections, rate=rate)
    began_waiting = perf_counter()
    events = sent.batches * batch
    limit = began_waiting + VISIBLE_SECONDS_MAX
    while count_visible(connection, kind, raw=False) < events and perf_counter() < limit:
        sleep(0.05)
    lag = perf_counter() - began_waiting
    used = processors.used()
    after = wait_told(connection, before, events)
    return Cell(
        form=form,
        batch=batch,
        batch_bytes=template.size,
        rate=rate,
        events=events,
        accepted_per_second=round(events / sent.seconds),
        stored_per_second=round(events / (sent.seconds + lag)),
        p50_ms=sent.percentile_ms(0.5),
        p90_ms=sent.percentile_ms(0.9),
        p99_ms=sent.percentile_ms(0.99),
        max_ms=sent.percentile_ms(1.0),
        fresh_p50_seconds=round(freshness(before, after, 0.5), 3),
        fresh_p95_seconds=round(freshness(before, after, 0.95), 3),
        fresh_p99_seconds=round(freshness(before, after, 0.99), 3),
        lag_seconds_at_end=round(lag, 2),
        counted_rollup=int(count_visible(connection, kind, raw=False)),
        counted_raw=int(count_visible(connection, kind, raw=True)),
        processor_us={name: round(took / events * 1e6, 1) for name, took in used.items()},
        cores_used=round(sum(used.values()) / (sent.seconds + lag), 2),
    )


def judge(cells: list[Cell]) -> dict[str, str]:
    """Each promise of T2 that was measured, and whether it was kept."""
    found: dict[str, str] = {}

    def say(name: str, measured: float, wanted: float, *, at_most: bool) -> None:
        kept = measured <= wanted if at_most else measured >= wanted
        found[name] = f"{'reached' if kept else 'missed'}: {measured:,g}, wanted {wanted:,g}"

    for cell in cells:
        if not cell.rate and cell.batch == PROMISED_BATCH:
            wanted = TARGETS[cell.form]
            say(f"stored events/s, {cell.form}", cell.stored_per_second, wanted, at_most=False)
        elif cell.rate:
            say(f"p99 of the POST in ms, {cell.form}", cell.p99_ms, 100, at_most=True)
            fresh = cell.fresh_p95_seconds
            say(f"p95 until visible in s, {cell.form}", fresh, 1, at_most=True)
    if not all(cell.exact for cell in cells):
        found["counts"] = "wrong"
    return found


def show(report: Report) -> None:
    """The table for people."""
    print(f"{report.machine}, load {report.load_before} before; {report.connections} connections")
    print(
        f"{'':24}{'accepted/s':>11}{'stored/s':>10}{'p50 ms':>8}{'p90':>7}{'p99':>7}{'max':>7}"
        f"{'fresh p50 s':>13}{'p95':>7}{'p99':>7}{'cores':>7}"
    )
    for cell in report.cells:
        name = f"{cell.form} x {cell.batch}" + (f" at {cell.rate:,}/s" if cell.rate else "")
        print(
            f"{name:24}{cell.accepted_per_second:>11,}{cell.stored_per_second:>10,}"
            f"{cell.p50_ms:>8}{cell.p90_ms:>7}{cell.p99_ms:>7}{cell.max_ms:>7}"
            f"{cell.fresh_p50_seconds:>13}{cell.fresh_p95_seconds:>7}{cell.fresh_p99_seconds:>7}"
            f"{cell.cores_used:>7}" + ("" if cell.exact else "  COUNTS ARE WRONG")
        )
    print("\nprocessor time, microseconds an event")
    names = sorted({name for cell in report.cells for name in cell.processor_us})
    print(f"{'':24}" + "".join(f"{name:>16}" for name in names))
    for cell in report.cells:
        name = f"{cell.form} x {cell.batch}" + (f" at {cell.rate:,}/s" if cell.rate else "")
        print(f"{name:24}" + "".join(f"{cell.processor_us.get(one, 0):>16}" for one in names))
    print()
    for name, told in report.verdict.items():
        print(f"T2, {name}: {told}")


@contextmanager
def place(data_dir: Path | None) -> Generator[Path]:
    """The data directory of a running stack: the one named, or that of a fresh one."""
    if data_dir is not None:
        yield data_dir
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "data"
        with running_stack(made):
            yield made


def run(chosen: argparse.Namespace, data_dir: Path) -> list[Cell]:
    """Every cell, one after the other."""
    connection = load_connection(data_dir / "connection.json")
    processors = Processors(data_dir)
    forms = chosen.forms.split(",")
    plan = [(form, int(batch), 0) for form in forms for batch in chosen.batches.split(",")]
    if not chosen.no_rate:
        plan += [(form, PROMISED_BATCH, PROMISED_RATE) for form in forms]
    for form in forms:  # first requests load code and open connections
        warm = Template(connection, f"warm_{uuid4().hex[:8]}", form, PROMISED_BATCH)
        send_for(
            warm,
            connection,
            seconds=WARM_SECONDS,
            connections=chosen.connections,
            rate=PROMISED_RATE,
        )
    cells: list[Cell] = []
    for form, batch, rate in plan:
        cell = measure(
            connection,
            processors,
            form=form,
            batch=batch,
            rate=rate,
            seconds=chosen.seconds,
            connections=chosen.connections,
        )
        cells.append(cell)
        told = f"{form} x {batch}: {cell.stored_per_second:,} stored/s, p99 {cell.p99_ms} ms"
        print(told, file=sys.stderr, flush=True)
    return cells


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="of a running stack; else one is started")
    parser.add_argument("--seconds", type=float, default=6, help="of sending, for each cell")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--forms", default="json,proto")
    parser.add_argument("--batches", default="1,20,100,1000")
    parser.add_argument("--no-rate", action="store_true", help="leave out 10,000 events a second")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    chosen = parser.parse_args()
    load_before = round(os.getloadavg()[0], 2)
    with place(chosen.data_dir) as data_dir:
        cells = run(chosen, data_dir)
    report = Report(
        at=datetime.now(tz=UTC).isoformat(timespec="seconds"),
        machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        seconds=chosen.seconds,
        connections=chosen.connections,
        load_before=load_before,
        cells=cells,
        verdict=judge(cells),
    )
    if chosen.json:
        print(json.dumps(msgspec.to_builtins(report)))
    else:
        show(report)
    return 0 if all(cell.exact for cell in cells) else 1


if __name__ == "__main__":
    sys.exit(main())
