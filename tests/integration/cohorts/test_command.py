"""`cohort` on the command line, against real engines."""

import asyncio
from pathlib import Path

import pytest

from appliance.base.units import Seconds
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres
from tests.integration.control.test_project_commands import Terminal

pytestmark = pytest.mark.integration


@pytest.fixture
def terminal(engines: Settings, capsys: pytest.CaptureFixture[str]) -> Terminal:
    endpoints = resolve_endpoints(engines)

    async def migrate() -> None:
        await migrate_postgres(endpoints.postgres, lambda _name: None)
        await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)
        await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)

    asyncio.run(migrate())
    return Terminal(engines.data_dir, capsys)


def test_a_list_from_files(terminal: Terminal, tmp_path: Path) -> None:
    """Made, imported twice, added to, told; who is not known yet is no member."""
    project = terminal.tell("project", "create", "Cohorts", "--timezone", "Europe/Vienna")["id"]
    first, second, wrong = (tmp_path / name for name in ("first", "second", "wrong"))
    first.write_bytes("a\r\nb\n\né\n".encode() + b"".join(b"n%d\n" % n for n in range(12_000)))
    second.write_text("a\nz")
    wrong.write_bytes(b"fine\nnot \xff\n")
    made = terminal.tell("cohort", "import", "--project", project, "--name", "Beta", str(first))
    assert made["ids"] == 12_003
    to = ("cohort", "import", "--project", project, "--to", made["id"])
    assert terminal.tell(*to, str(first))["ids"] == 12_003
    assert terminal.tell(*to, str(second))["ids"] == 12_004
    terminal.say(*to, str(wrong), status=2)
    terminal.say("cohort", "import", "--project", project, str(first), status=2)
    terminal.say("cohort", "import", "--project", "nowhere", "--name", "x", str(first), status=1)
    assert "Beta" in terminal.say("cohort", "list", "--project", project)
    (told,) = terminal.tell("cohort", "list", "--project", project)
    assert (told["display_name"], told["ids"]) == ("Beta", 12_004)
    assert terminal.tell("cohort", "members", "--project", project, made["id"]) == []
    terminal.say("cohort", "members", "--project", project, "unknown", status=1)
