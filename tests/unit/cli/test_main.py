"""Commands that exist, failures that are one line."""

import pytest

from appliance.cli.main import COMMANDS, cli, main
from appliance.config.model import Settings


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as exited:
        main(list(arguments))
    captured = capsys.readouterr()
    assert isinstance(exited.value.code, int)
    return exited.value.code, captured.out, captured.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lazy table names real commands."""
    status, out, _ = run(capsys, name, "--help")
    assert status == 0
    assert out.startswith(f"Usage: pug-appliance {name}")


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each."""
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert all(name in out for name in COMMANDS)
    assert cli.name == "cli"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["runn"], 2, "did you mean 'run'?"),
        (["config", "check", "--set", "port"], 2, "is not KEY=VALUE"),
        (["config", "show", "--config", "/no/such.toml"], 3, "does not exist; create it"),
        (["config", "show", "--set", "api.port=x"], 3, "expected a whole number from 0 to 65535"),
    ],
)
def test_a_failure_is_one_line_and_a_status(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What, why, what to do; no traceback."""
    code, _, err = run(capsys, *arguments)
    assert code == status
    assert said in err
    assert err.count("\n") == 1


def test_a_failure_can_be_json(capsys: pytest.CaptureFixture[str]) -> None:
    """--json makes the error line an object."""
    code, _, err = run(capsys, "config", "show", "--json", "--set", "a=b")
    assert code == 3
    assert err.startswith('{"error":{"reason":"CONFIG_INVALID"')


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """--debug may stand anywhere."""
    _, _, err = run(capsys, "config", "show", "--debug", "--set", "a=b")
    assert "Traceback" in err


def test_settings_are_shown_with_their_origin(capsys: pytest.CaptureFixture[str]) -> None:
    """Every key, and the flag that set one."""
    status, out, _ = run(capsys, "config", "show", "--set", "api.port=9")
    assert status == 0
    assert "--set api.port" in out
    assert len(out.splitlines()) > len(Settings.__struct_fields__)
