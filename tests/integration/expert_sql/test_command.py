"""`pug-appliance query`, and a private key at the door."""

import asyncio
import json
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from appliance.api.app import create_app
from appliance.base.units import Seconds
from appliance.cli.main import main
from appliance.config.endpoints import Endpoints, resolve_endpoints
from appliance.config.model import Settings
from appliance.services.wiring import build_services
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.expert_views import views_database
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres

pytestmark = pytest.mark.integration

INSERT = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time)
SELECT generateUUIDv4(), {project:String}, 'd', generateUUIDv4(), {kind:String}, now64(3)
"""
SPEC = {
    "spec": {"insightType": "INSIGHT_TYPE_SEGMENTATION", "events": [{"event": {"kind": "mine"}}]},
    "timeRange": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-05T00:00:00Z"},
    "granularity": "GRANULARITY_DAY",
}


class Terminal:
    """Runs commands the way a person does."""

    def __init__(self, settings: Settings, printed: pytest.CaptureFixture[str]) -> None:
        self.settings = settings
        self._printed = printed

    def say(self, *words: str, status: int = 0) -> tuple[str, str]:
        """What a command printed, and what it complained of."""
        with pytest.raises(SystemExit) as ended:
            main([*words, "--data-dir", str(self.settings.data_dir)])
        told = self._printed.readouterr()
        assert (ended.value.code or 0) == status, (words, told)
        return told.out, told.err

    def forget(self) -> None:
        """What was printed up to now, like log lines."""
        self._printed.readouterr()

    def tell(self, *words: str) -> Any:  # JSON as printed
        return json.loads(self.say(*words, "--json")[0])


async def migrate(endpoints: Endpoints) -> None:
    await migrate_postgres(endpoints.postgres, lambda _name: None)
    await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)
    await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)


async def run(endpoints: Endpoints, text: Any, values: dict[str, str]) -> None:
    store = ClickHouse(endpoints.clickhouse)
    await store.command(text, values)
    await store.close()


@pytest.fixture
def terminal(engines: Settings, capsys: pytest.CaptureFixture[str]) -> Generator[Terminal]:
    endpoints = resolve_endpoints(engines)
    asyncio.run(migrate(endpoints))
    yield Terminal(engines, capsys)
    name = views_database(endpoints.clickhouse.database)
    asyncio.run(run(endpoints, "DROP DATABASE IF EXISTS {name:Identifier}", {"name": name}))


def test_a_query_on_the_command_line(terminal: Terminal, tmp_path: Path) -> None:
    """One project, three forms, an insight looked behind; the log knows of it."""
    project = terminal.tell("project", "create", "Asked")["id"]
    endpoints = resolve_endpoints(terminal.settings)
    for name, kind in ((project, "mine"), ("other", "SECRET")):
        asyncio.run(run(endpoints, INSERT, {"project": name, "kind": kind}))
    sql = "SELECT kind FROM events"
    assert "│ mine │" in terminal.say("query", sql, "--project", project)[0]
    answer = terminal.say("query", "run", sql, "--project", project, "--format", "csv")[0]
    assert answer == '"kind"\n"mine"\n'
    file = tmp_path / "answer.json"
    terminal.say("query", sql, "--project", project, "--output", str(file))
    assert json.loads(file.read_text())["data"] == [{"kind": "mine"}]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["answer.json"]
    for wrong, words in (
        ("SELECT * FROM system.tables", "there is no table"),
        ("SELECT nothing FROM events", "nothing"),
        ("DROP TABLE events", "begins with SELECT"),
    ):
        told = terminal.say("query", wrong, "--project", project, status=2)[1]
        assert words in told
    assert "project" in terminal.say("query", sql, "--project", "nobody", status=1)[1]
    odd = str(tmp_path / "answer.xls")
    terminal.say("query", sql, "--project", project, "--output", odd, status=2)
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(SPEC))
    told = terminal.tell("query", "explain", "--file", str(spec), "--project", project)
    assert told["source"] == "event rollup"
    assert "dashboard_event_rollup_daily" in told["sql"]
    shown = terminal.say("query", "explain", "--file", str(spec), "--project", project)[0]
    assert "source: event rollup" in shown
    assert "ReadFromMergeTree" in shown
    spec.write_text("{")
    terminal.say("query", "explain", "--file", str(spec), "--project", project, status=2)
    log = terminal.say("audit", "export")[0]
    acts = [json.loads(line) for line in log.splitlines()]
    asked = [one for one in acts if one["action"] == "project.query.run"]
    assert sql in {one["details"]["sql"] for one in asked}


def test_a_private_key_asks_about_its_project(terminal: Terminal) -> None:
    """Without a role: it is the project's own."""
    project = terminal.tell("project", "create", "Keyed")["id"]
    endpoints = resolve_endpoints(terminal.settings)
    asyncio.run(run(endpoints, INSERT, {"project": project, "kind": "mine"}))
    keys = {
        kind: terminal.tell("key", "create", project, "--kind", kind)["key"]
        for kind in ("private", "public")
    }

    async def ask(key: str, path: str = "/query") -> httpx.Response:
        services = build_services(terminal.settings)
        await services.open()
        app = cast("Any", create_app(services, terminal.settings))  # ASGI, by another library
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://pug.test") as http:
            answer = await http.post(
                path,
                content=b"SELECT kind, count() AS n FROM events GROUP BY 1",
                headers={"x-api-key": key, "accept": "text/csv", "content-type": "text/plain"},
            )
        await services.close()
        return answer

    answer = asyncio.run(ask(keys["private"]))
    assert (answer.status_code, answer.text) == (200, '"kind","n"\n"mine",1\n')
    assert asyncio.run(ask(keys["public"])).status_code == 401
    terminal.forget()
    acts = terminal.tell("audit", "list", "--project", project)
    [asked] = [one for one in acts if one["action"] == "project.query.run"]
    assert asked["actor_kind"] == "key"
    assert asked["actor_id"]
