"""`user` on the command line, with the real stores behind it."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.base.errors import ApplianceError
from appliance.cli.main import cli
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.migrate import migrate_nats, migrate_postgres

pytestmark = pytest.mark.integration


@pytest.fixture
def data_dir(engines: Settings) -> Path:
    asyncio.run(migrate(engines))
    return engines.data_dir


async def migrate(engines: Settings) -> None:
    endpoints = resolve_endpoints(engines)
    await migrate_postgres(endpoints.postgres, lambda _name: None)
    await migrate_nats(endpoints.nats, engines.nats.retention, lambda _name: None)


def test_the_life_of_a_user(data_dir: Path, tmp_path: Path) -> None:
    """Made, listed, disabled, enabled, given a link, a role and a password."""
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)

    def user(*arguments: str) -> object:
        done = CliRunner().invoke(
            cli, ["user", *arguments, "--json", "--data-dir", str(data_dir)], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    made = user("create", "--email", "cli@pug.test", "--password-file", str(secret))
    assert isinstance(made, dict)
    assert made["role"] == "admin"

    def state() -> dict[str, object]:
        rows = user("list")
        assert isinstance(rows, list)
        return next(row for row in rows if row["email"] == "cli@pug.test")

    assert state() | {"has_password": True, "disabled": False, "orgs": 1} == state()
    user("disable", "CLI@pug.test")
    assert state()["disabled"]
    user("enable", "cli@pug.test")
    assert not state()["disabled"]
    link = user("magic-link", "cli@pug.test")
    assert isinstance(link, dict)
    assert "/magic-link?token=" in link["link"]
    other = user("create", "--email", "two@pug.test", "--password-file", str(secret))
    assert isinstance(other, dict)
    role = user("role", "cli@pug.test", "viewer", "--org", made["org_id"])
    assert isinstance(role, dict)
    assert role["role"] == "viewer"
    assert user("set-password", "cli@pug.test", "--password-file", str(secret)) == {
        "email": "cli@pug.test",
        "done": "password set",
    }


def test_a_password_is_asked_for(data_dir: Path) -> None:
    """Twice, and shown nowhere; the two must agree."""
    command = ["user", "create", "--email", "asked@pug.test", "--data-dir", str(data_dir)]
    typed = "battery staple\nbattery stable\nbattery staple\nbattery staple\n"
    done = CliRunner().invoke(cli, command, input=typed)
    assert done.exit_code == 0, done.output
    assert "made asked@pug.test (admin)" in done.output
    assert "battery" not in done.output


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["disable", "ghost@pug.test"], 1, "no user"),
        (["enable", "ghost@pug.test"], 1, "no user"),
        (["magic-link", "ghost@pug.test"], 1, "no user"),
        (["set-password", "ghost@pug.test", "--password-file", "{secret}"], 1, "no user"),
        (["role", "ghost@pug.test", "viewer", "--org", "x" * 20], 1, "no user"),
        (["create", "--email", "no address", "--password-file", "{secret}"], 2, "e-mail"),
        (["create", "--email", "a@pug.test", "--password-file", "{short}"], 2, "6 characters"),
        (["create", "--email", "a@pug.test", "--password-file", "{open}"], 3, "mode 0644"),
        (
            ["create", "--email", "a@pug.test", "--password-file", "{secret}", "--org", "x" * 20],
            1,
            "organisation",
        ),
    ],
)
def test_what_is_refused(
    data_dir: Path, tmp_path: Path, arguments: list[str], status: int, told: str
) -> None:
    """With a sentence and a status that a script can use."""
    files = {}
    for name, text, mode in (
        ("secret", "correct horse", 0o600),
        ("short", "five!", 0o600),
        ("open", "correct horse", 0o644),
    ):
        files[name] = tmp_path / name
        files[name].write_text(text)
        files[name].chmod(mode)
    filled = [each.format(**files) for each in arguments]
    done = CliRunner().invoke(cli, ["user", *filled, "--data-dir", str(data_dir)])
    assert isinstance(done.exception, ApplianceError)
    assert (done.exception.exit_status, told in str(done.exception)) == (status, True)
