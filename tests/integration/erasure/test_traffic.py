"""People are erased while the queue is full and workers are killed: gone are they, only they."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.base.clock import SystemClock
from appliance.base.errors import ApplianceError
from appliance.base.ids import IdMaker
from appliance.base.tasks import poll
from appliance.config.effective import save_effective
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.services.audit import AuditLog
from appliance.services.erasure import ErasureService
from appliance.services.stores import Stores
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres
from appliance.storage.postgres.pool import Postgres
from tests.support.engines import running_engines
from tests.support.erasure_stage import OPERATOR
from tests.support.pipeline import Stage, encode, make_events

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

ROOT = Path(__file__).parents[3]
BATCHES = 60
BATCH_EVENTS = 20
KILLS = 8
ERASED = ("user-3", "user-7", "user-11")
SEEDS = [int(seed) for seed in os.environ.get("TEST_SEEDS", "1").split(",")]
WAIT_SECONDS = 400.0
"""A message whose worker was killed before it froze anything comes again after five minutes."""


@contextmanager
def process(settings: Settings, name: str) -> Generator[subprocess.Popen[bytes]]:
    """A worker as the supervisor starts it."""
    with (settings.data_dir / f"{name}.out").open("ab") as output:
        started = subprocess.Popen(
            [
                *(sys.executable, "-m", "appliance", "worker", name),
                *("--config", str(save_effective(settings))),
                *("--set", "worker.health_addr=off"),
            ],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@pytest.mark.parametrize("seed", SEEDS)
async def test_erased_amid_traffic_and_kills(tmp_path: Path, seed: int) -> None:
    """Everything is on the queue when the requests are made, and workers die on the way."""
    chance = random.Random(seed)
    async with running_engines(tmp_path / "pug") as settings:
        endpoints = resolve_endpoints(settings)
        await migrate_postgres(endpoints.postgres, lambda _name: None)
        await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)
        await migrate_nats(endpoints.nats, settings.nats.retention, lambda _name: None)
        stage, database = Stage(endpoints), Postgres(endpoints.postgres)
        try:
            await erase_amid_traffic(stage, database, settings, chance)
        finally:
            await database.close()
            await stage.close()


async def erase_amid_traffic(
    stage: Stage, database: Postgres, settings: Settings, chance: random.Random
) -> None:
    project = IdMaker().make()
    await database.execute("INSERT INTO orgs (id, display_name) VALUES ($1, 'K')", project)
    await database.execute(
        "INSERT INTO projects (id, org_id, display_name) VALUES ($1, $1, 'S')", project
    )
    batches = [
        make_events(BATCH_EVENTS, seed=number, months=2, project=project)
        for number in range(BATCHES)
    ]
    for batch in batches:
        for row in batch:  # a session is one person's here
            row["session_id"] = f"00000000-0000-4000-8000-{str(row['distinct_id'])[5:]:0>12}"
    service = make_service(stage, database)
    for number, batch in enumerate(batches):
        await stage.publish(encode(batch), message_id=f"b{number}")
    requests = [
        (await service.delete_data_subject(project, name, actor=OPERATOR)).request_id
        for name in ERASED
    ]
    others = [row for batch in batches for row in batch if row["distinct_id"] not in ERASED]
    kills = await kill_until_done(settings, database, requests, chance)
    assert kills >= 2
    assert await people_of(stage.store) == {str(row["distinct_id"]) for row in others}
    counted = await stage.counts()
    assert (counted.raw, counted.sessions, counted.activity) == (len(others),) * 3
    assert counted.daily == BATCHES * BATCH_EVENTS
    print(f"{kills} kills")


def make_service(stage: Stage, database: Postgres) -> ErasureService:
    clock = SystemClock()
    stores = Stores(
        postgres=database,
        clickhouse=stage.store,
        streams=stage.streams,
        publisher=stage.publisher,
    )
    ids = IdMaker(clock)
    return ErasureService(stores, AuditLog(clock, ids), clock=clock, ids=ids)


async def kill_until_done(
    settings: Settings, database: Postgres, requests: list[str], chance: random.Random
) -> int:
    """Kill one of both workers again and again, then let them end; how many kills."""

    async def done() -> bool | None:
        try:
            rows = await database.rows(
                "SELECT 1 FROM compliance_requests WHERE id = ANY($1::text[])"
                " AND status = 'completed'",
                requests,
            )
        except ApplianceError:
            return None
        return len(rows) == len(requests) or None

    kills = 0
    while kills < KILLS and not await done():
        with process(settings, "events") as events, process(settings, "compliance") as compliance:
            lifetime = chance.uniform(0.8, 1.2) * (1 + 0.7 * kills)
            await poll(done, every_seconds=0.1, timeout_seconds=lifetime)
            victim = chance.choice((events, compliance))
            os.kill(victim.pid, signal.SIGKILL)
            kills += 1
    with process(settings, "events"), process(settings, "compliance"):
        assert await poll(done, every_seconds=0.2, timeout_seconds=WAIT_SECONDS)
    return kills


async def people_of(store: ClickHouse) -> set[str]:
    return {str(one) for (one,) in await store.rows("SELECT DISTINCT distinct_id FROM events")}
