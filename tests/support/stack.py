"""The whole appliance as a user starts it: one command, a data directory, HTTP.

Invariant: everything is found out from outside: `connection.json`, `status --json`, HTTP. Whatever
the test does, no process of the stack outlives it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Final, TypeVar
from uuid import uuid4

import httpx
import psutil

from appliance.base.ready import READY_DESCRIPTOR_VARIABLE, parse_ready
from appliance.config.connection import Connection, load_connection

FROM_SOURCE: Final = (sys.executable, "-m", "appliance")
START_SECONDS_MAX: Final = 120
COMMAND_SECONDS_MAX: Final = 240
STOP_SECONDS_MAX: Final = 120
VISIBLE_SECONDS_MAX: Final = 120
BATCH_CREATE: Final = "/sdk.events.v1.EventsService/BatchCreate"
QUERY: Final = "/shared.insights.v1.InsightsService/Query"

Answer = TypeVar("Answer")
Json = dict[str, object]


def pug(*arguments: str, data_dir: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one `pug-appliance` command to its end."""
    where = ["--data-dir", str(data_dir)] if data_dir else []
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments, *where],
        check=False,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
    )


def until(
    question: Callable[[], Answer | None], *, what: str, seconds: float, pause: float = 0.05
) -> Answer:
    """Ask until there is an answer other than None; fail naming `what` when the time is over."""
    end = monotonic() + seconds
    while (answer := question()) is None:
        assert monotonic() < end, f"{what}: not within {seconds} s"
        sleep(pause)
    return answer


class Stack:
    """A running appliance and the two things people do with it: post events, ask questions."""

    def __init__(self, data_dir: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.data_dir = data_dir
        self.process = process
        self.log = log
        self.connection: Connection = load_connection(data_dir / "connection.json")
        self.client = httpx.Client(base_url=self.connection.url, timeout=30)

    def post(self, events: list[Json], *, key: str | None = None) -> httpx.Response:
        """Send one batch as Connect JSON with the public key."""
        headers = {"x-api-key": key or self.connection.public_key}
        return self.client.post(BATCH_CREATE, json={"events": events}, headers=headers)

    def trend(self, kind: str, *, aggregation: str = "TOTAL", raw: bool = False) -> float:
        """The daily trend of one kind over the days around today, summed up.

        `raw` adds a filter that every event passes, which rules the roll-up out [insights 20].
        """
        today = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        event: Json = {"kind": kind}
        if raw:
            event["filters"] = [{"property": "surely", "operator": "FILTER_OPERATOR_IS_NOT_SET"}]
        request = {
            "spec": {
                "insightType": "INSIGHT_TYPE_TRENDS",
                "events": [{"event": event, "aggregation": f"AGGREGATION_TYPE_{aggregation}"}],
            },
            "timeRange": {
                "from": (today - timedelta(days=3)).isoformat(),
                "to": (today + timedelta(days=2)).isoformat(),
            },
            "granularity": "GRANULARITY_DAY",
        }
        headers = {"x-api-key": self.connection.private_key}
        answer = self.client.post(QUERY, json=request, headers=headers)
        assert answer.status_code == 200, answer.text
        series = answer.json()["trends"].get("series", [])
        return sum(point["value"] for line in series for point in line["points"])

    def trend_reaches(self, kind: str, count: float, *, raw: bool = False) -> None:
        """Wait until the trend of `kind` shows `count`, and assert that it is not more."""

        def reached() -> float | None:
            total = self.trend(kind, raw=raw)
            return total if total >= count else None

        total = until(reached, what=f"{kind} at {count}", seconds=VISIBLE_SECONDS_MAX)
        assert total == count

    def status(self) -> dict[str, Json]:
        """What `status --json` says, by component."""
        told = pug("status", "--json", data_dir=self.data_dir)
        return {line["name"]: line for line in json.loads(told.stdout)["components"]}

    def pid(self, component: str) -> int:
        """The pid of a component that is running now."""

        def found() -> int | None:
            pid = self.status().get(component, {}).get("pid")
            return pid if isinstance(pid, int) else None

        return until(found, what=f"pid of {component}", seconds=VISIBLE_SECONDS_MAX)

    def wait_answering(self) -> httpx.Response:
        """Wait until the API says that it reaches every store: one late store makes it say no."""

        def answering() -> httpx.Response | None:
            answer = self.client.get("/readyz")
            return answer if answer.status_code == 200 else None

        return until(answering, what="/readyz 200", seconds=VISIBLE_SECONDS_MAX)

    def wait_led(self) -> Json:
        """Wait until a scheduler leads, which takes it a moment after it is ready; who it is."""

        def leader() -> Json | None:
            told = pug("jobs", "list", "--json", data_dir=self.data_dir)
            assert told.returncode == 0, told.stderr
            found = json.loads(told.stdout)["leader"]
            return found if found and found["alive"] else None

        return until(leader, what="a leader", seconds=VISIBLE_SECONDS_MAX)

    def wait_ready(self) -> None:
        """Wait until every component is ready again."""

        def ready() -> bool | None:
            told = pug("status", "--json", data_dir=self.data_dir)
            return True if told.returncode == 0 else None

        until(ready, what="status 0", seconds=START_SECONDS_MAX)

    def kill_supervisor(self) -> None:
        """`kill -9` the process that the user started, and nothing else."""
        self.client.close()
        self.process.kill()
        self.process.wait(timeout=STOP_SECONDS_MAX)

    def stop(self) -> int:
        """Ctrl-C, and the exit status."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=STOP_SECONDS_MAX)


def launch(data_dir: Path, *arguments: str, program: Sequence[str] = FROM_SOURCE) -> Stack:
    """Start the stack and wait for its READY line; fail with its log when it ends before."""
    log = data_dir.with_suffix(".log")
    reading, writing = os.pipe()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *(*program, "quickstart"),
                *("--data-dir", str(data_dir), "--port", "0", "--no-demo", *arguments),
            ],
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            env={**os.environ, READY_DESCRIPTOR_VARIABLE: str(writing)},
        )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        ready = parse_ready(pipe.readline())
    if ready is None:
        process.wait(timeout=STOP_SECONDS_MAX)
        raise AssertionError(f"the stack ended with {process.returncode}:\n{log.read_text()}")
    return Stack(data_dir, process, log)


@contextmanager
def running_stack(
    data_dir: Path, *arguments: str, program: Sequence[str] = FROM_SOURCE
) -> Generator[Stack]:
    """A stack for the length of a block; afterwards none of its processes is left."""
    stack = launch(data_dir, *arguments, program=program)
    try:
        yield stack
        stack.stop()
    finally:
        stack.client.close()
        end_processes_of(data_dir)
        if stack.process.poll() is None:
            stack.process.kill()
        stack.process.wait(timeout=STOP_SECONDS_MAX)


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Every process that names this data directory in its command line or environment."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(data_dir) in word for word in words):
            found.append(process)
    return found


def end_processes_of(data_dir: Path) -> None:
    """Kill whatever a failed test left behind."""
    for process in processes_of(data_dir):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def make_event(kind: str, *, distinct_id: str = "anon-1", **custom: object) -> Json:
    """One valid consented event of now."""
    return {
        "eventId": str(uuid4()),
        "kind": kind,
        "occurTime": datetime.now(tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "distinctId": distinct_id,
        "sessionId": str(uuid4()),
        "autoProperties": {"$url": {"stringValue": "https://shop.example/"}},
        "customProperties": {name: {"stringValue": str(value)} for name, value in custom.items()},
    }
