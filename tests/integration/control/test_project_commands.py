"""`project` and `key` on the command line, against real engines."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from appliance.base.units import Seconds
from appliance.cli.main import main
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.migrate import migrate_nats, migrate_postgres

pytestmark = pytest.mark.integration


class Terminal:
    """Runs commands the way a person does."""

    def __init__(self, folder: Path, printed: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._printed = printed

    def say(self, *words: str, status: int = 0) -> str:
        """What a command printed."""
        with pytest.raises(SystemExit) as ended:
            main([*words, "--data-dir", str(self._folder)])
        told = self._printed.readouterr()
        assert (ended.value.code or 0) == status, (words, told)
        return told.out

    def tell(self, *words: str) -> Any:  # JSON as printed
        return json.loads(self.say(*words, "--json"))


@pytest.fixture
def terminal(engines: Settings, capsys: pytest.CaptureFixture[str]) -> Terminal:
    endpoints = resolve_endpoints(engines)

    async def migrate() -> None:
        await migrate_postgres(endpoints.postgres, lambda _name: None)
        await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)

    asyncio.run(migrate())
    return Terminal(engines.data_dir, capsys)


def test_a_life_of_a_project(terminal: Terminal):
    """Made, renamed, moved to a zone, told how long to keep events, deleted, restored."""
    made = terminal.tell("project", "create", "Shop", "--timezone", "Europe/Vienna")
    project = made["id"]
    terminal.say("project", "create", "Shop", status=1)
    terminal.say("project", "rename", project, "Store")
    terminal.say("project", "timezone", project, "Mars/Olympus", status=2)
    terminal.say("project", "timezone", project, "UTC")
    terminal.say("project", "retention", project, "--days", "ninety", status=2)
    terminal.say("project", "retention", project, "--days", "0", status=2)
    assert "for 90 days" in terminal.say("project", "retention", project, "--days", "90")
    [row] = [one for one in terminal.tell("project", "list") if one["id"] == project]
    assert (row["display_name"], row["timezone"], row["retention_days"]) == ("Store", "", 90)
    assert "90 days" in terminal.say("project", "list")
    terminal.say("project", "retention", project, "--days", "forever")
    terminal.say("project", "delete", project)
    terminal.say("project", "delete", project, status=1)
    assert project not in terminal.say("project", "list")
    assert "Store" in terminal.say("project", "list", "--deleted")
    other = terminal.tell("project", "create", "Store")["id"]
    terminal.say("project", "restore", project, status=1)
    assert "Store 2 is back" in terminal.say("project", "restore", project, "--name", "Store 2")
    assert project not in terminal.say("project", "list", "--deleted")
    terminal.say("project", "restore", other, status=1)


def test_a_life_of_a_key(terminal: Terminal):
    """Made, rotated with an overlap, revoked; a private key is printed once."""
    project = terminal.tell("project", "create", "Keys")["id"]
    made = terminal.tell("key", "create", project, "--kind", "private", "--name", "ci")
    assert made["key"].startswith("prv_")
    rotated = terminal.tell("key", "rotate", made["id"], "--overlap", "12h")
    assert rotated["key"] != made["key"]
    assert rotated["old_id"] == made["id"]
    assert rotated["old_ends_at"] is not None
    listed = {row["id"]: row for row in terminal.tell("key", "list", project)}
    assert set(listed) >= {made["id"], rotated["id"]}
    assert listed[made["id"]]["expires_at"] is not None
    assert listed[rotated["id"]]["display_name"] == "ci"
    shown = terminal.say("key", "list", project)
    assert made["key"] not in shown
    assert "LAST USED" in shown
    terminal.say("key", "rotate", made["id"], "--overlap", "soon", status=2)
    assert "has ended" in terminal.say("key", "rotate", rotated["id"], "--overlap", "0s")
    terminal.say("key", "revoke", made["key"])
    terminal.say("key", "revoke", made["id"], status=1)
    kinds = [row["kind"] for row in terminal.tell("key", "list", project)]
    assert sorted(kinds) == ["private", "public"]


def test_limits(terminal: Terminal):
    """Shown, set one by one, taken away; a project that is not there, and a number that is none."""
    project = terminal.tell("project", "create", "Limited")["id"]
    [shown] = terminal.tell("project", "limits", project)
    assert (shown["events_per_second"], shown["events_per_month"], shown["events"]) == (
        None,
    ) * 2 + (0,)
    terminal.say("project", "limits", project, "--per-second", "500")
    [shown] = terminal.tell("project", "limits", project, "--per-month", "20000000")
    assert (shown["events_per_second"], shown["events_per_month"]) == (500, 20_000_000)
    [shown] = terminal.tell("project", "limits", project, "--per-second", "none")
    assert (shown["events_per_second"], shown["events_per_month"]) == (None, 20_000_000)
    assert "20000000" in terminal.say("project", "limits")
    terminal.say("project", "limits", project, "--per-second", "0", status=2)
    terminal.say("project", "limits", project, "--per-second", "many", status=2)
    terminal.say("project", "limits", "--per-second", "5", status=2)
    terminal.say("project", "limits", "nobody", status=1)
    terminal.say("project", "limits", "nobody", "--per-second", "5", status=1)
