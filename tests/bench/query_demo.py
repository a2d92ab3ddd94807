"""Every type of insight, asked of a seeded demo project through the HTTP API.

    scripts/bench query --demo [--json] [--events 500000] [--days 14] [--rounds 7] [--data-dir DIR]

Starts a stack of its own, or takes the running one of DIR, and seeds it with `pug-appliance seed`
as an operator would. The questions are those of `scripts/bench query`, in the words of the demo's
shop, about all its days. Cold is without any cache of the engine and without pages of its files;
warm is the median of the rounds after that, each about a range that ends a second earlier, so that
no answer is a kept one; `busy` is the processor time of engine and API for one such answer, which
other work on the machine does not change; `kept` is the same question once more. Times are of whole
POSTs. Ends with 1 when a question finds nothing, or is not answered within a second once warm.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import httpx
import msgspec
import psutil

from appliance.base.tasks import poll
from appliance.config.connection import load_connection
from appliance.config.endpoints import resolve_endpoints
from appliance.config.load import load_settings
from appliance.config.model import Settings
from appliance.storage.clickhouse.client import ClickHouse
from tests.bench.query_questions import PAGES, QUESTIONS, Call, Spec
from tests.support.stack import FROM_SOURCE, QUERY, pug, running_stack

WARM_MS_MAX = 1000
VISIBLE_SECONDS_MAX = 300
SEED_SECONDS_MAX = 900
ANSWER_SECONDS_MAX = 60
WORDS = {
    '"click"': '"product_viewed"',
    '"signup"': '"add_to_cart"',
    '"plan"': '"$os"',
    '"pro"': '"Windows"',
}
"""What the benchmark's events are called in the demo's shop."""
_CACHES = ("MARK CACHE", "UNCOMPRESSED CACHE", "QUERY CONDITION CACHE", "PRIMARY INDEX CACHE")


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One question, or a page of them at once, in milliseconds; `bytes` of its answers."""

    name: str
    cold_ms: float
    warm_ms: float
    worst_ms: float
    busy_ms: float
    kept_ms: float
    answer_bytes: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    machine: str
    events: int
    seeded_seconds: float
    visible_seconds: float
    cells: list[Cell]
    empty: list[str]
    slow: list[str]


class Asker:
    """Asks one project of a running stack."""

    def __init__(self, data_dir: Path, days: int, rounds: int) -> None:
        self._folder = data_dir
        self._days = days
        self._rounds = rounds
        self._end = datetime.now(tz=UTC).replace(microsecond=0)
        connection = load_connection(data_dir / "connection.json")
        self._client = httpx.AsyncClient(
            base_url=connection.url,
            timeout=ANSWER_SECONDS_MAX,
            headers={"x-api-key": connection.private_key},
        )
        self._clickhouse = ClickHouse(resolve_endpoints(settings_of(data_dir)).clickhouse)
        told = json.loads(pug("status", "--json", data_dir=data_dir).stdout)
        self._processes = [
            psutil.Process(line["pid"])
            for line in told["components"]
            if line["name"] in {"api", "clickhouse"}
        ]
        self.empty: list[str] = []

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()
        await self._clickhouse.close()

    async def count(self) -> int:
        """All events of the engine's table."""
        ((number,),) = await self._clickhouse.rows("SELECT count() FROM events")
        assert isinstance(number, int)
        return number

    async def cell(self, name: str, calls: Sequence[Call]) -> Cell:
        """Questions asked at the same time: cold, warm, kept."""

        async def ask(earlier: int) -> int:
            answers = await asyncio.gather(*(self._ask(name, call, earlier) for call in calls))
            return sum(answers)

        await self._forget()
        size, cold = await timed(lambda: ask(0))
        before = self._busy_seconds()
        warm = [(await timed(lambda n=n: ask(n)))[1] for n in range(1, self._rounds + 1)]
        busy = self._busy_seconds() - before
        _, kept = await timed(lambda: ask(self._rounds))
        return Cell(
            name=name if len(calls) == 1 else f"{name} ({len(calls)} questions)",
            cold_ms=round(cold, 1),
            warm_ms=round(statistics.median(warm), 1),
            worst_ms=round(max(warm), 1),
            busy_ms=round(busy / self._rounds * 1000, 1),
            kept_ms=round(kept, 1),
            answer_bytes=size,
        )

    def _busy_seconds(self) -> float:
        """Processor time of the engine and the API so far."""
        times = [process.cpu_times() for process in self._processes]
        return sum(one.user + one.system for one in times)

    async def _ask(self, name: str, call: Call, earlier: int) -> int:
        end = self._end - timedelta(days=call.days_earlier, seconds=earlier)
        message = {
            "spec": in_words_of_the_shop(call.spec),
            "timeRange": {
                "from": (end - timedelta(days=self._days + 1)).isoformat(),
                "to": end.isoformat(),
            },
            "granularity": "GRANULARITY_DAY",
        }
        answer = await self._client.post(QUERY, json=message)
        assert answer.status_code == 200, (name, answer.text)
        if finds_nothing(answer.json()) and name not in self.empty:
            self.empty.append(name)
        return len(answer.content)

    async def _forget(self) -> None:
        for cache in _CACHES:
            await self._clickhouse.command(f"SYSTEM DROP {cache}")
        await asyncio.to_thread(forget_pages, self._folder / "clickhouse")


def finds_nothing(answer: object) -> bool:
    """Whether no number of an answer is above 0."""
    if isinstance(answer, dict):
        return all(map(finds_nothing, answer.values()))
    if isinstance(answer, list):
        return all(map(finds_nothing, answer))
    if isinstance(answer, str):
        return not answer.isdecimal() or int(answer) == 0
    return not isinstance(answer, int | float) or answer == 0


def in_words_of_the_shop(spec: Spec) -> Spec:
    """The same question about the demo's events."""
    text = json.dumps(spec)
    for word, other in WORDS.items():
        text = text.replace(word, other)
    return json.loads(text)


async def timed(ask: Callable[[], Awaitable[int]]) -> tuple[int, float]:
    """What an answer is, and how long it takes in milliseconds."""
    began = perf_counter()
    answer = await ask()
    return answer, (perf_counter() - began) * 1000


def forget_pages(folder: Path) -> None:
    """Ask the kernel to let go of what it remembers of the files."""
    os.sync()
    for place, _, names in os.walk(folder):  # which passes over folders that are merged away
        for name in names:
            try:
                descriptor = os.open(Path(place, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:  # merged away, or no file
                continue
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def settings_of(data_dir: Path) -> Settings:
    """The settings of the stack in a folder."""
    flags = {"data_dir": str(data_dir)}
    return load_settings(config_file=None, environment={}, flags=flags)


def seed(data_dir: Path, events: int, days: int) -> tuple[int, float]:
    """Seed as an operator does; how many events were taken, and the seconds."""
    if not events:
        return 0, 0.0
    began = perf_counter()
    words = ("seed", "--events", str(events), "--days", str(days), "--seed", str(os.getpid()))
    told = subprocess.run(
        [*FROM_SOURCE, *words, "--json", "--data-dir", str(data_dir)],
        check=False,
        capture_output=True,
        text=True,
        timeout=SEED_SECONDS_MAX,
    )
    assert told.returncode == 0, told.stderr
    return int(json.loads(told.stdout)["accepted"]), perf_counter() - began


async def run(data_dir: Path, *, events: int, days: int, rounds: int) -> Report:
    """Seed, wait until everything is visible, ask everything."""
    asker = Asker(data_dir, days, rounds)
    try:
        before = await asker.count()
        accepted, seeded = await asyncio.to_thread(seed, data_dir, events, days)
        began = perf_counter()

        async def visible() -> bool | None:
            return (await asker.count() >= before + accepted) or None

        assert await poll(visible, every_seconds=0.2, timeout_seconds=VISIBLE_SECONDS_MAX)
        waited = perf_counter() - began
        cells = [await asker.cell(name, [Call(spec)]) for name, spec in QUESTIONS.items()]
        singles = tuple(cells)
        for name, calls in PAGES.items():
            cells.append(await asker.cell(name, calls))
    finally:
        await asker.close()
    return Report(
        machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        events=accepted,
        seeded_seconds=round(seeded, 1),
        visible_seconds=round(waited, 1),
        cells=cells,
        empty=asker.empty,
        slow=[cell.name for cell in singles if cell.warm_ms > WARM_MS_MAX],
    )


def show(report: Report) -> None:
    """The table for people."""
    rate = int(report.events / (report.seeded_seconds or 1))
    print(
        f"{report.machine}; {report.events:,} events seeded in {report.seeded_seconds} s"
        f" ({rate:,}/s), all visible {report.visible_seconds} s later"
    )
    print(f"{'milliseconds':44}{'cold':>9}{'warm':>9}{'worst':>9}{'busy':>9}{'kept':>8}")
    for cell in report.cells:
        print(
            f"{cell.name:44}{cell.cold_ms:>9}{cell.warm_ms:>9}{cell.worst_ms:>9}"
            f"{cell.busy_ms:>9}{cell.kept_ms:>8}"
        )
    single = [cell for cell in report.cells if "questions)" not in cell.name]
    print(
        f"slowest single question: {max(cell.cold_ms for cell in single)} ms cold,"
        f" {max(cell.warm_ms for cell in single)} ms warm"
    )
    for name in report.empty:
        print(f"FINDS NOTHING: {name}")
    for name in report.slow:
        print(f"SLOWER THAN {WARM_MS_MAX} ms: {name}")


@contextmanager
def stack_at(chosen: Path | None) -> Generator[Path]:
    """The running stack that was named, or one of our own."""
    if chosen is not None:
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="demo-bench-") as name:
        data_dir = Path(name) / "pug"
        with running_stack(data_dir):
            yield data_dir


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=500_000, help="0: ask what is there")
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=7, help="warm answers of each question")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    chosen = parser.parse_args()
    with stack_at(chosen.data_dir) as data_dir:
        report = asyncio.run(
            run(data_dir, events=chosen.events, days=chosen.days, rounds=chosen.rounds)
        )
    if chosen.json:
        print(json.dumps(msgspec.to_builtins(report)))
    else:
        show(report)
    return 1 if report.empty or report.slow else 0


if __name__ == "__main__":
    sys.exit(main())
