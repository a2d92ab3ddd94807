"""Whether heavy questions slow what is stored: ingest with and without them, side by side.

    .venv/bin/python -m tests.bench.isolation [--json] [--stored 2M] [--questions 12] [--rate 3000]
                                              [--seconds 10] [--rounds 2]

Starts a stack, lets the engine make events, and posts batches at a fixed rate in three arms, one
after the other in each round: nobody asks; so many callers ask user flows through the API without
a pause; and, as a control, as many send the same statements straight to the engine without
priority, places or bounds, as it was before decision 0037. Compare the arms of one run: the
load generator and everything else on the machine are in all of them.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Self
from uuid import uuid4

import httpx
import msgspec

from appliance.base.errors import ApplianceError
from appliance.config.connection import Connection, load_connection
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import ClickHouseSettings, Settings
from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.user_flow import UserFlowPlan
from appliance.domain.insights.wire import parse_query
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.insights.user_flows import compile_user_flow
from tests.bench.ingest import QUERY
from tests.bench.load import Sent, Template, send_for
from tests.bench.query import NOW, number
from tests.bench.query_fill import make_events
from tests.bench.query_questions import QUESTIONS, request_of
from tests.bench.watch import TOLD_SECONDS_MAX, freshness, read_numbers, wait_told
from tests.support.stack import running_stack

BATCH = 100
CONNECTIONS = 4
WARM_SECONDS = 2.0
DRAINS_MAX = 10
ARMS = ("nobody asks", "questions", "questions without bounds")
NOT_BOUND = {"priority", "low_priority_query_wait_time_ms"}


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One arm of one round; `answers` by HTTP status or reason.

    Freshness is from acceptance until the event can be asked for; what takes longer than the watch
    waits counts as that long.
    """

    arm: str
    acknowledged_per_second: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    fresh_p95_seconds: float
    answers: dict[str, int]


class Askers:
    """Callers that ask again as soon as they are answered, in a loop of their own."""

    def __init__(self, arm: str, callers: int, connection: Connection, settings: Settings) -> None:
        self._arm, self._callers = arm, callers
        self._connection, self._settings = connection, settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.answers: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        if self._arm == ARMS[0]:
            return
        ask = self._ask_product if self._arm == ARMS[1] else self._ask_engine
        callers = [asyncio.ensure_future(ask()) for _ in range(self._callers)]
        await asyncio.to_thread(self._stop.wait)
        for caller in callers:  # they hang up, and the engine stops
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)

    async def _ask_product(self) -> None:
        body = request_of(QUESTIONS["user flow by page"]).to_json()
        headers = {
            "x-api-key": self._connection.private_key,
            "content-type": "application/json",
        }
        async with httpx.AsyncClient(timeout=120) as client:
            while True:
                answer = await client.post(
                    self._connection.url + QUERY, content=body, headers=headers
                )
                self.answers[str(answer.status_code)] += 1
                if answer.status_code != httpx.codes.OK:
                    await asyncio.sleep(float(answer.headers.get("retry-after", "1")))

    async def _ask_engine(self) -> None:
        spec = parse_query(request_of(QUESTIONS["user flow by page"]), timezone="")
        plan = plan_insight(
            spec,
            project_id=self._connection.project_id,
            now_ms=int(NOW.timestamp()) * 1000,
        )
        assert isinstance(plan, UserFlowPlan)
        statement = compile_user_flow(plan)
        bare = {name: v for name, v in statement.settings.items() if name not in NOT_BOUND}
        store = ClickHouse(resolve_endpoints(self._settings).clickhouse, answer_seconds_max=120)
        try:
            while True:
                try:
                    await store.rows(statement.text, statement.parameters, bare)
                    self.answers["200"] += 1
                except ApplianceError as error:
                    self.answers[error.reason] += 1
                    await asyncio.sleep(1)
        finally:
            await store.close()


def measure(arm: str, chosen: argparse.Namespace, connection: Connection, settings: Settings):
    """One arm: post for some seconds while others ask, then wait until all is stored."""
    template = Template(connection, f"isolation_{uuid4().hex[:8]}", "json", BATCH)
    with Askers(arm, chosen.questions, connection, settings) as askers:
        _post(template, connection, WARM_SECONDS, chosen.rate)
        before = read_numbers(connection)
        sent = _post(template, connection, chosen.seconds, chosen.rate)
        try:
            after = wait_told(connection, before, sent.batches * BATCH)
            fresh = round(freshness(before, after, 0.95), 2)
        except AssertionError:  # not stored within the time the watch waits
            fresh = float(TOLD_SECONDS_MAX)
    for _ in range(DRAINS_MAX):  # the next arm begins with nothing left over
        try:
            wait_told(connection, before, sent.batches * BATCH)
            break
        except AssertionError:
            continue
    return Cell(
        arm=arm,
        acknowledged_per_second=round(sent.batches * BATCH / sent.seconds),
        p50_ms=sent.percentile_ms(0.5),
        p99_ms=sent.percentile_ms(0.99),
        max_ms=sent.percentile_ms(1.0),
        fresh_p95_seconds=fresh,
        answers=dict(askers.answers),
    )


def _post(template: Template, connection: Connection, seconds: float, rate: int) -> Sent:
    return send_for(template, connection, seconds=seconds, connections=CONNECTIONS, rate=rate)


def show(cells: list[Cell]) -> None:
    """The table for people, and the middle of each arm."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':28}{'acked/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'fresh p95 s':>13}")
    for cell in cells:
        print(
            f"{cell.arm:28}{cell.acknowledged_per_second:>9}{cell.p50_ms:>9}{cell.p99_ms:>9}"
            f"{cell.max_ms:>9}{cell.fresh_p95_seconds:>13}  {cell.answers or ''}"
        )
    for arm in ARMS:
        own = [cell for cell in cells if cell.arm == arm]
        print(
            f"{'median, ' + arm:34}p99 {statistics.median(c.p99_ms for c in own):g} ms, "
            f"fresh {statistics.median(c.fresh_p95_seconds for c in own):g} s"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stored", type=number, default=2_000_000, help="events to ask about")
    parser.add_argument("--questions", type=int, default=12, help="callers that ask at once")
    parser.add_argument("--rate", type=int, default=3000, help="events posted a second")
    parser.add_argument("--seconds", type=float, default=10, help="how long each arm posts")
    parser.add_argument("--rounds", type=int, default=2, help="how often each arm is measured")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isolation-", ignore_cleanup_errors=True) as name:
        folder = Path(name) / "pug"
        with running_stack(folder):
            settings = Settings(data_dir=folder, clickhouse=ClickHouseSettings())
            connection = load_connection(folder / "connection.json")
            asyncio.run(_fill(settings, connection.project_id, chosen.stored))
            cells: list[Cell] = []
            for _ in range(chosen.rounds):
                for arm in ARMS:
                    cells.append(measure(arm, chosen, connection, settings))
                    print(msgspec.to_builtins(cells[-1]), file=sys.stderr, flush=True)
    if chosen.json:
        print(json.dumps(msgspec.to_builtins(cells)))
    else:
        show(cells)
    return 0


async def _fill(settings: Settings, project: str, events: int) -> None:
    store = ClickHouse(resolve_endpoints(settings).clickhouse, answer_seconds_max=600)
    try:
        await make_events(store, project, events)
    finally:
        await store.close()


if __name__ == "__main__":
    sys.exit(main())
