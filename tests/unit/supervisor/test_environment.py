"""What a child finds in its environment."""

import sys

import pytest

from appliance.supervisor import environment
from appliance.supervisor.environment import child_environment, launcher_argv, self_argv


def test_it_is_built_from_nothing() -> None:
    """Secrets and settings of the supervisor's own environment do not leak into a child."""
    inherited = {"DATABASE_URL": "x", "HOME": "/root", "TZDIR": "/zones", "LD_LIBRARY_PATH": "/f"}
    made = child_environment({"A": "1"}, own=False, inherited=inherited)
    assert made == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "TZDIR": "/zones",
        "A": "1",
    }


def test_a_frozen_loader_path_never_reaches_a_foreign_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was there before the frozen application is put back."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    frozen = {"LD_LIBRARY_PATH": "/opt/pug/_internal", "LD_LIBRARY_PATH_ORIG": "/usr/local/lib"}
    assert child_environment({}, own=False, inherited=frozen)["LD_LIBRARY_PATH"] == "/usr/local/lib"
    without = {"LD_LIBRARY_PATH": "/opt/pug/_internal"}
    assert "LD_LIBRARY_PATH" not in child_environment({}, own=True, inherited=without)
    assert self_argv("server") == (sys.executable, "server")
    assert launcher_argv() == (sys.executable, "launch")


def test_a_developers_loader_path_reaches_our_own_programs() -> None:
    """An interpreter may need it to find its own libraries."""
    inherited = {"LD_LIBRARY_PATH": "/home/me/lib"}
    made = child_environment({}, own=True, inherited=inherited)
    assert made["LD_LIBRARY_PATH"] == "/home/me/lib"
    assert made["PYTHONUNBUFFERED"] == "1"


def test_our_programs_are_modules_when_not_frozen() -> None:
    """And the working directory cannot shadow them."""
    assert not environment.is_frozen()
    assert self_argv("worker", "events")[1:] == ("-P", "-m", "appliance", "worker", "events")
    assert launcher_argv()[-1].endswith("launch.py")
