"""Becoming a component's program."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.base.errors import MisconfiguredError
from appliance.supervisor.become import become
from appliance.supervisor.spec import ProcessSpec

PROGRAM = """
import sys
from pathlib import Path
from appliance.supervisor.become import become
from appliance.supervisor.spec import ProcessSpec
become(
    ProcessSpec(
        name="it",
        argv=("/bin/sh", "-c", 'env; echo "cwd=$PWD"; echo "pid=$$"; umask'),
        environment={"WANTED": "yes"},
        directory=Path(sys.argv[1]),
        own=sys.argv[2] == "own",
    ),
    inherited={"LISTEN_FDS": "1", "LISTEN_PID": "7", "NOTIFY_SOCKET": "/n", "STRANGE": "x",
               "CREDENTIALS_DIRECTORY": "/c"},
)
"""


@pytest.mark.parametrize("whose", ["own", "foreign"])
def test_the_program_gets_what_its_spec_says(tmp_path: Path, whose: str) -> None:
    """Same pid, its folder, a closed umask, an environment built from nothing; only programs of
    ours hear of systemd's sockets and credentials."""
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), whose],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"SURROUNDING": "1"},
    )
    lines = started.communicate(timeout=30)[0].splitlines()
    found = dict(line.partition("=")[::2] for line in lines[:-1])
    assert lines[-1] == "0077"
    assert found["cwd"] == str(tmp_path)
    assert int(found["pid"]) == started.pid
    assert found["WANTED"] == "yes"
    assert "STRANGE" not in found
    assert "SURROUNDING" not in found
    systemd = {"LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"}
    assert systemd & set(found) == (systemd if whose == "own" else set())


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    """The process lives on to say so."""
    spec = ProcessSpec(name="it", argv=(str(tmp_path / "absent"),))
    umask = os.umask(0)
    try:
        with pytest.raises(MisconfiguredError, match=r"it: .*absent cannot be run"):
            become(spec, inherited={})
    finally:
        os.umask(umask)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
