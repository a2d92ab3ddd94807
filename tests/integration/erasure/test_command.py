"""`person` on the command line: everything is shown, erased, and the receipt says so."""

import asyncio
import json
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.base.clock import SystemClock
from appliance.base.errors import NotFoundError, UnmetError
from appliance.cli.main import cli
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.services.wiring import build_services
from appliance.storage.clickhouse.inserts import INSERT_SETTINGS
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres
from appliance.workers.compliance import compliance_duty
from tests.support.erasure_stage import empty_queues
from tests.support.pipeline import encode, make_events

pytestmark = pytest.mark.integration


def person(settings: Settings, *arguments: str) -> str:
    done = CliRunner().invoke(
        cli, ["person", *arguments, "--data-dir", str(settings.data_dir)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


async def prepare(settings: Settings) -> str:
    endpoints = resolve_endpoints(settings)
    await migrate_postgres(endpoints.postgres, lambda _name: None)
    await migrate_nats(endpoints.nats, settings.nats.retention, lambda _name: None)
    await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)
    services = build_services(settings, name="pug-test")
    try:
        await empty_queues(services.stores.streams)
        project = await services.projects.create_project("Shop of erasures")
        rows = make_events(40, seed=99, project=project.id)
        for number, row in enumerate(rows):
            row["distinct_id"] = ("user-1", "anon-1", "other")[number % 3]
        await services.stores.clickhouse.insert_ndjson("events", [encode(rows)], INSERT_SETTINGS)
        await services.stores.postgres.execute(
            "INSERT INTO profiles (id, project_id, external_id, properties)"
            " VALUES ('P1', $1, 'user-1', '{\"plan\": \"pro\"}')",
            project.id,
        )
        alias = {
            "project_id": project.id,
            "alias_id": "anon-1",
            "profile_id": "P1",
            "external_id": "user-1",
            "version": 1,
        }
        await services.stores.clickhouse.insert_ndjson(
            "profile_aliases", [json.dumps(alias).encode()], {"async_insert": 0}
        )
    finally:
        await services.close()
    return project.id


@contextmanager
def worker(settings: Settings) -> Generator[None]:
    """The duty of compliance in a thread, as the background process runs it."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        services = build_services(settings, name="pug-test-worker")
        try:
            duty = compliance_duty(services.stores, settings, SystemClock())
            await duty.run(stop)
        finally:
            await services.close()

    thread = Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=60)
        assert not thread.is_alive()
        loop.close()


def records(path: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["record"], []).append(row)
    return found


def test_shown_erased_and_proved(engines: Settings, tmp_path: Path) -> None:
    project = asyncio.run(prepare(engines))
    target = tmp_path / "person.jsonl"
    person(engines, "export", project, "anon-1", "--to", str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    found = records(target)
    assert found["person"][0]["ids"] == ["user-1", "P1", "anon-1"]
    assert [row["properties"] for row in found["profile"]] == [{"plan": "pro"}]
    assert [row["alias_id"] for row in found["alias"]] == ["anon-1"]
    assert {row["distinct_id"] for row in found["activity"]} == {"user-1", "anon-1"}
    assert {row["distinct_id"] for row in found["event"]} == {"user-1", "anon-1"}
    assert len(found["event"]) == sum(row["events"] for row in found["activity"]) == 27
    assert found["event"][0]["custom_properties"] == {"plan": "pro"}
    asked = json.loads(person(engines, "erase", project, "anon-1", "--json"))
    assert asked["status"] == "pending"
    with pytest.raises(UnmetError):
        person(engines, "receipt", asked["request_id"])
    with worker(engines):
        again = json.loads(person(engines, "erase", project, "P1", "--wait", "--json"))
    assert again["request_id"] == asked["request_id"]
    assert again["status"] == "completed"
    receipt = json.loads(person(engines, "receipt", asked["request_id"]))
    assert receipt["found"]["events"] == receipt["events_identified"] == 27
    assert set(receipt["remaining"].values()) == {0}
    assert "daily counts" in receipt["not_erased"][0]
    kept = tmp_path / "receipt.json"
    person(engines, "receipt", asked["request_id"], "--to", str(kept))
    assert json.loads(kept.read_text()) == receipt
    assert "completed" in person(engines, "status", asked["request_id"])
    assert asked["request_id"] in person(engines, "requests", project)
    with pytest.raises(NotFoundError):
        person(engines, "export", project, "anon-1", "--to", str(target))
    assert len(records(target)["event"]) == 27
    person(engines, "export", project, "other", "--to", str(target))
    assert {row["distinct_id"] for row in records(target)["event"]} == {"other"}
    with pytest.raises(NotFoundError):
        person(engines, "export", "no-project", "other", "--to", str(target))
