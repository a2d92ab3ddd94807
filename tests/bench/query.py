"""How long every type of insight takes, cold and warm, from roll-ups and from events.

    scripts/bench query [--json] [--events 1M] [--projects N] [--rounds 7] [--only TEXT]
                        [--keep DIR] [--even-pages]

Starts an event store of its own and fills it with events that the engine makes itself. Cold is
without any cache: the engine's are dropped, and so are the pages of its files. `first` is the same
of a question that the engine never heard since it started. Warm is the median of the rounds after
that. `kept` is the same question once more, from the memory of answers. A page is asked of one
service in each round and of a new one in the next: its questions share what they share in life, and
nothing is answered from a round before. Where a roll-up answers, the events are
asked too. Sessions and visitors are compacted, and some got events since, as on a site at work.
Ends with 1 when both disagree about a total.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
from msgspec.structs import replace

from appliance.base.errors import TimedOutError
from appliance.config.endpoints import resolve_endpoints
from appliance.domain.insights.plan import InsightPlan
from appliance.domain.insights.route import Source
from appliance.domain.insights.sessions import SessionNumberPlan, SessionTrendsPlan
from appliance.domain.insights.shape import SegmentationAnswer
from appliance.domain.insights.wire import render_answer
from appliance.services.insights import InsightsService
from appliance.services.kept_answers import KeptAnswers
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from appliance.storage.clickhouse.insights.settings import SECONDS_MAX
from appliance.storage.clickhouse.ledger import migrate_clickhouse
from tests.bench.query_cohorts import COHORT_QUESTIONS, SavedCohorts, fill_people
from tests.bench.query_fill import EVEN, FIRST, SKEWED, fill
from tests.bench.query_late import go_on
from tests.bench.query_questions import PAGES, QUESTIONS, Call, request_of
from tests.support.clocks import FixedClock
from tests.support.engines import running_engines

NOW = datetime(2025, 6, 1, tzinfo=UTC)
PROJECT_EVENTS = 10_000_000
"""T3 speaks of 100 million events, and of a project with ten of them."""

ENDED_MS = SECONDS_MAX * 1000.0
"""Shown for a question that the engine ended because it took too long."""

PROMISED_MS = {
    "overview page": 500,
    "trend, total by day": 500,
    "dashboard of 8 tiles": 500,
    "funnel, 4 steps": 3000,
}
PACE_STEPS = 2_000_000
DISK = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
_CACHES = ("MARK CACHE", "UNCOMPRESSED CACHE", "QUERY CONDITION CACHE", "PRIMARY INDEX CACHE")


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One question from one source, in milliseconds; `kept_ms` is 0 where nothing is kept.

    `cpu_ms` is processor time of the engine, `pace_ms` that of a fixed piece of work right after,
    to compare runs by: other work on the machine makes both longer where it shares a core.
    """

    name: str
    source: str
    first_ms: float
    cold_ms: float
    warm_ms: float
    worst_ms: float
    cpu_ms: float = 0.0
    pace_ms: float = 0.0
    kept_ms: float = 0.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run; `disagreeing` names totals that both sources tell differently."""

    at: str
    machine: str
    events: int
    projects: int
    load: float
    disk_bytes: int
    filled_seconds: float
    cells: list[Cell]
    verdict: dict[str, str]
    disagreeing: list[str]


class Project:
    """The one that is asked about."""

    project_id = "bench-0"
    timezone = ""


class Bench:
    """Asks one filled store."""

    def __init__(self, clickhouse: ClickHouse, folder: Path, rounds: int) -> None:
        self._clickhouse = clickhouse
        self._folder = folder
        self._engine = psutil.Process(engine_pid(folder))
        self._rounds = rounds
        self._store = ClickHouseInsights(clickhouse)
        self._clock = FixedClock(NOW)
        self._keeping = self._new_service(KeptAnswers(self._clock))
        self.disagreeing: list[str] = []

    async def question(self, name: str, spec) -> list[Cell]:
        """A question from the source that is chosen, and from events."""
        request = request_of(spec)
        planned = await self._keeping.plan(Project(), request)
        source = source_of(planned)
        chosen = await self._cell(
            name, source, lambda: self._new_service().query(Project(), request)
        )
        cells = [replace(chosen, kept_ms=await self._kept_ms(request))]
        if source is not Source.EVENTS:
            raw = from_events(planned)
            other = await self._cell(name, Source.EVENTS, lambda: self._answer(raw))
            cells.append(other)
            if other.cold_ms < ENDED_MS:
                await self._compare(name, planned, raw)
        return cells

    async def page(self, name: str, calls: Sequence[Call]) -> Cell:
        """Questions asked at the same time, as a page does."""
        requests = [request_of(one.spec, days_earlier=one.days_earlier) for one in calls]

        async def ask_all() -> None:
            # a new one each round: what is kept and shared is kept and shared within a round only
            service = self._new_service(KeptAnswers(self._clock))
            await asyncio.gather(*(service.query(Project(), one) for one in requests))
            told = sum(n for (_, what), n in service.counts.items() if what == "hit")
            assert told == 0, "an answer of a page came from memory"

        return await self._cell(f"{name} ({len(requests)} questions)", "as chosen", ask_all)

    def _new_service(self, kept: KeptAnswers | None = None) -> InsightsService:
        return InsightsService(self._store, self._clock, kept=kept, cohorts=SavedCohorts())

    async def _answer(self, plan: InsightPlan) -> None:
        render_answer(await self._store.answer(plan))

    async def _cell(self, name: str, source: str, ask: Callable[[], Awaitable[object]]) -> Cell:
        await self._forget()
        first = await timed(ask)
        await self._forget()
        before = self._engine.cpu_times()
        # what ran into the limit of time once would do so every time
        cold = first if first >= ENDED_MS else await timed(ask)
        rounds = 0 if cold >= ENDED_MS else self._rounds
        warm = [await timed(ask) for _ in range(rounds)] or [cold]
        cell = Cell(
            name=name,
            source=str(source),
            first_ms=round(first, 1),
            cold_ms=round(cold, 1),
            warm_ms=round(statistics.median(warm), 1),
            worst_ms=round(max(warm), 1),
            cpu_ms=round(spent_ms(before, self._engine.cpu_times()) / (rounds + 1), 1),
            pace_ms=round(pace_ms(), 1),
        )
        print(line_of(cell), file=sys.stderr, flush=True)
        return cell

    async def _kept_ms(self, request) -> float:
        if await timed(lambda: self._keeping.query(Project(), request)) >= ENDED_MS:
            return 0.0
        before = sum(n for (_, what), n in self._keeping.counts.items() if what == "hit")
        took = await timed(lambda: self._keeping.query(Project(), request))
        hits = sum(n for (_, what), n in self._keeping.counts.items() if what == "hit")
        return round(took, 1) if hits > before else 0.0

    async def _compare(self, name: str, chosen: InsightPlan, raw: InsightPlan) -> None:
        one, other = await self._store.answer(chosen), await self._store.answer(raw)
        if not isinstance(one, SegmentationAnswer) or not isinstance(other, SegmentationAnswer):
            return
        if abs(one.total - other.total) > 0.02 * abs(other.total):  # people are estimated
            self.disagreeing.append(name)

    async def _forget(self) -> None:
        for cache in _CACHES:
            await self._clickhouse.command(f"SYSTEM DROP {cache}")
        await asyncio.to_thread(forget_pages, self._folder)


def source_of(plan: InsightPlan) -> Source:
    """Where the answer of a plan comes from."""
    if isinstance(plan, SessionNumberPlan | SessionTrendsPlan):
        return plan.sessions.source
    return getattr(plan, "source", Source.EVENTS)


def from_events(plan: InsightPlan) -> InsightPlan:
    """The same plan, asked of the events."""
    if isinstance(plan, SessionNumberPlan | SessionTrendsPlan):
        return replace(plan, sessions=replace(plan.sessions, source=Source.EVENTS))
    return replace(plan, source=Source.EVENTS)


async def timed(ask: Callable[[], Awaitable[object]]) -> float:
    """How long an answer takes, in milliseconds."""
    started = time.perf_counter()
    try:
        await ask()
    except TimedOutError:
        return ENDED_MS
    return (time.perf_counter() - started) * 1000


def engine_pid(folder: Path) -> int:
    """The process of the event store below `folder`."""
    told = json.loads((folder / "run" / "processes.json").read_text())
    (process,) = (each for each in told["processes"] if each["name"] == "clickhouse")
    return int(process["pid"])


def spent_ms(before, after) -> float:
    """Processor time between two looks."""
    return (after.user + after.system - before.user - before.system) * 1000


def pace_ms() -> float:
    """How long a core takes for a fixed piece of work: virtual machines differ by the minute."""
    started = time.process_time()
    for _ in range(PACE_STEPS):
        pass
    return (time.process_time() - started) * 1000


def forget_pages(folder: Path) -> None:
    """Ask the kernel to let go of what it remembers of the files."""
    for parent, _, names in os.walk(folder):  # passes over what is merged away meanwhile
        for name in names:
            try:
                descriptor = os.open(Path(parent, name), os.O_RDONLY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def line_of(cell: Cell) -> str:
    """One line of the table."""
    taken = (cell.first_ms, cell.cold_ms, cell.warm_ms, cell.worst_ms)
    figures = "".join(f"{'ended' if each >= ENDED_MS else each:>9}" for each in taken)
    figures += f"{cell.cpu_ms:>9}{cell.pace_ms:>7}"
    kept = f"{cell.kept_ms:>7}" if cell.kept_ms else ""
    return f"{cell.name:36}{cell.source:16}{figures}{kept}"


def judge(cells: Sequence[Cell], events: int) -> dict[str, str]:
    """Each promise of T3, and whether it was kept with so many events."""
    found: dict[str, str] = {}
    for name, wanted in PROMISED_MS.items():
        cell = next((one for one in cells if one.name.partition(" (")[0] == name), None)
        if cell is None:
            continue
        ways = (("first", cell.first_ms), ("cold", cell.cold_ms), ("warm", cell.warm_ms))
        for way, took in ways:
            kept = "reached" if took <= wanted else "missed"
            found[f"{name}, {way}, {events:,} events"] = f"{kept}: {took:g} ms, wanted {wanted}"
    return found


def show(report: Report) -> None:
    """The table for people."""
    print(
        f"{report.machine}; {report.events:,} events in {report.projects} project(s), "
        f"{report.disk_bytes / 1e9:.1f} GB, filled in {report.filled_seconds:g} s; "
        f"load before the questions {report.load:g}"
    )
    heads = "".join(f"{head:>9}" for head in ("first", "cold", "warm", "worst", "cpu"))
    print(f"{'milliseconds':52}{heads}{'pace':>7}{'kept':>7}")
    for cell in report.cells:
        print(line_of(cell))
    print()
    for name, told in report.verdict.items():
        print(f"T3, {name}: {told}")
    for name in report.disagreeing:
        print(f"ROLL-UP AND EVENTS DISAGREE: {name}")


async def run(chosen: argparse.Namespace, projects: int) -> Report:
    """Fill an engine and ask it everything."""
    with tempfile.TemporaryDirectory(prefix="query-bench-") as name:
        folder = chosen.keep or Path(name) / "pug"
        async with running_engines(folder, {"clickhouse"}) as settings:
            endpoint = resolve_endpoints(settings).clickhouse
            await migrate_clickhouse(endpoint, lambda _: None)
            clickhouse = ClickHouse(endpoint, answer_seconds_max=600)
            try:
                started = time.perf_counter()
                await fill(clickhouse, chosen.events, projects, chosen.skew)
                await fill_people(clickhouse, FIRST)
                await go_on(clickhouse, FIRST)
                filled = time.perf_counter() - started
                ((disk,),) = await clickhouse.rows(DISK)
                bench = Bench(clickhouse, folder, chosen.rounds)
                load = os.getloadavg()[0]
                cells: list[Cell] = []
                for title, spec in {**QUESTIONS, **COHORT_QUESTIONS}.items():
                    if chosen.only in title:
                        cells += await bench.question(title, spec)
                for title, calls in PAGES.items():
                    if chosen.only in title:
                        cells.append(await bench.page(title, calls))
            finally:
                await clickhouse.close()
    return Report(
        at=datetime.now(tz=UTC).isoformat(timespec="seconds"),
        machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        events=chosen.events,
        projects=projects,
        load=round(load, 1),
        disk_bytes=int(str(disk)),
        filled_seconds=round(filled, 1),
        cells=cells,
        verdict=judge(cells, chosen.events),
        disagreeing=bench.disagreeing,
    )


def number(text: str) -> int:
    """A count of events: `200000`, `200k`, `10M`."""
    units = {"k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
    unit = units.get(text[-1].lower(), 1)
    return int(float(text[:-1]) * unit) if unit > 1 else int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=number, default=1_000_000, help="for example 10M")
    parser.add_argument("--projects", type=int, help="default: one for ten million events")
    parser.add_argument("--rounds", type=int, default=7, help="warm answers of each question")
    parser.add_argument("--only", default="", help="questions whose names hold this text")
    parser.add_argument("--keep", type=Path, help="a folder for the store, asked again as it is")
    parser.add_argument(
        "--even-pages",
        dest="skew",
        action="store_const",
        const=EVEN,
        default=SKEWED,
        help="every page as often as any other, not by a power law",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    chosen = parser.parse_args()
    projects = chosen.projects or max(1, chosen.events // PROJECT_EVENTS)
    report = asyncio.run(run(chosen, projects))
    if chosen.json:
        print(json.dumps(msgspec.to_builtins(report)))
    else:
        show(report)
    return 1 if report.disagreeing else 0


if __name__ == "__main__":
    sys.exit(main())
