"""The private door, the service manager's socket, and programs that run to their end."""

import os
import socket
import sys
from pathlib import Path

import anyio.to_thread
import pytest

from appliance.base.errors import NotFoundError, UnavailableError
from appliance.supervisor.control import Answer, Command, ControlServer, Request, ask_supervisor
from appliance.supervisor.notify import Notifier
from appliance.supervisor.program import run_program
from appliance.supervisor.spec import ProcessSpec

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def respond(request: Request) -> Answer:
    """A supervisor that knows nothing."""
    if request.command is Command.RESTART:
        raise NotFoundError("COMPONENT_UNKNOWN", "no such component", hint="one of a, b")
    return Answer(pid=os.getpid(), stopping=request.command is Command.STOP)


async def test_a_question_is_answered(tmp_path: Path) -> None:
    """Also in a folder whose path is too long for a socket; a stale file is replaced."""
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    path = folder / "control.sock"
    path.write_text("stale")
    server = ControlServer(path, respond)
    await server.start()
    assert path.stat().st_mode & 0o777 == 0o600
    answer = await anyio.to_thread.run_sync(ask_supervisor, path, Request(command=Command.STOP))
    assert answer == Answer(pid=os.getpid(), stopping=True)
    with pytest.raises(NotFoundError, match="no such component; one of a, b"):
        await anyio.to_thread.run_sync(
            ask_supervisor, path, Request(command=Command.RESTART, component="c")
        )
    await server.close()
    assert not path.exists()


async def test_nonsense_is_refused(tmp_path: Path) -> None:
    """And the next one is served."""
    path = tmp_path / "control.sock"
    server = ControlServer(path, respond)
    await server.start()

    def send() -> bytes:
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(str(path))
            door.sendall(b'{"command":"format"}\n')
            return door.recv(4096)

    assert b"REQUEST_UNREADABLE" in await anyio.to_thread.run_sync(send)
    await server.close()


def test_nobody_at_home_is_told_with_a_remedy(tmp_path: Path) -> None:
    """No socket, no folder, or a file that is none."""
    for path in (tmp_path / "run" / "control.sock", tmp_path / "control.sock"):
        with pytest.raises(UnavailableError, match="pug-appliance run"):
            ask_supervisor(path, Request(command=Command.STATUS))


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(tmp_path: Path, *, abstract: bool) -> None:
    """READY, STOPPING, WATCHDOG and RELOADING, also at an abstract address."""
    name = f"\0pug-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(5)
        shown = name.replace("\0", "@")
        notifier = Notifier({"NOTIFY_SOCKET": shown, "WATCHDOG_USEC": "20000000"})
        notifier.ready("all\nwell")
        notifier.stopping()
        notifier.watchdog()
        notifier.status("half way")
        notifier.reloading(5)
        told = [manager.recv(1024).decode() for _ in range(5)]
    assert told == [
        "READY=1\nSTATUS=all well",
        "STOPPING=1",
        "WATCHDOG=1",
        "STATUS=half way",
        "RELOADING=1\nMONOTONIC_USEC=5",
    ]
    assert notifier.watchdog_seconds == 10


def test_without_a_service_manager_nothing_happens() -> None:
    """Neither does a watchdog that is meant for another process."""
    notifier = Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    notifier.ready()
    assert notifier.watchdog_seconds is None
    assert Notifier({}).watchdog_seconds is None
    Notifier({"NOTIFY_SOCKET": "/no/such/socket"}).ready()


async def test_a_program_runs_to_its_end() -> None:
    """Its output is the result; a failure names its last line."""
    good = ProcessSpec(name="good", argv=(sys.executable, "-c", "print('made')"))
    assert await run_program(good, timeout_seconds=60) == "made"
    bad = ProcessSpec(name="bad", argv=(sys.executable, "-c", "raise SystemExit('no room')"))
    with pytest.raises(UnavailableError, match="bad exited 1: no room"):
        await run_program(bad, timeout_seconds=60)
    slow = ProcessSpec(name="slow", argv=(sys.executable, "-c", "import time; time.sleep(60)"))
    with pytest.raises(UnavailableError, match=r"slow did not end within 0.2 s"):
        await run_program(slow, timeout_seconds=0.2)
