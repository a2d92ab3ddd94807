"""Posting while something happens, and the commands of backups as an operator types them."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.support.stack import Stack, make_event, pug

COMMAND_SECONDS_MAX = 120


def backup(*arguments: str, data_dir: Path, status: int = 0) -> dict[str, object]:
    """Run one `backup` command with --json; its result."""
    told = pug("backup", *arguments, "--json", data_dir=data_dir)
    assert told.returncode == status, told.stderr + told.stdout
    lines = told.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else {}


class Posting:
    """Events of one kind, one a request, as fast as they are acknowledged."""

    def __init__(self, stack: Stack, kind: str) -> None:
        self._stack = stack
        self._kind = kind
        self._stop = threading.Event()
        self.acknowledged = 0
        self.refused = 0
        self.slowest_seconds = 0.0

    def run(self) -> None:
        while not self._stop.is_set():
            answer = self._stack.post([make_event(self._kind)])
            if answer.status_code == 200:
                self.acknowledged += 1
            else:
                self.refused += 1
            self.slowest_seconds = max(self.slowest_seconds, answer.elapsed.total_seconds())

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def posting(stack: Stack, kind: str) -> Generator[Posting]:
    """Post in the background for the length of a block."""
    work = Posting(stack, kind)
    thread = threading.Thread(target=work.run)
    thread.start()
    try:
        yield work
    finally:
        work.stop()
        thread.join()


def killed_at(step: str, *arguments: str, data_dir: Path) -> list[str]:
    """Run a `backup` command and kill it when it tells that `step` begins; the steps that began.

    They may be more, where the command is quicker than the signal.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "appliance", "backup", *arguments, "--json", "--data-dir", data_dir],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    begun: list[str] = []
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if not line.endswith("\n"):
            break  # it was killed while it said so
        told = json.loads(line)
        if told.get("event") == "begun":
            begun.append(told["step"])
            if told["step"] == step:
                os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait(timeout=COMMAND_SECONDS_MAX)
    assert step in begun, "".join(said)
    return begun


def drilled(place: str, *arguments: str, data_dir: Path) -> int:
    """Run a `backup` command that loses its power at a line of its journal; its status."""
    return subprocess.run(
        [sys.executable, "-m", "appliance", "backup", *arguments, "--data-dir", data_dir],
        check=False,
        capture_output=True,
        env={**os.environ, "PUG_DRILL": place},
        timeout=COMMAND_SECONDS_MAX,
    ).returncode
