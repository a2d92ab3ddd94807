"""An appliance installed in a guest, used from inside as its operator and its clients use it.

Invariant: the only things known are the command `pug-appliance`, its `--json` answers and HTTP.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from tests.support.guest import CommandFailedError, Guest
from tests.support.machine import Machine
from tests.support.stack import BATCH_CREATE, QUERY, Json, make_event, until

VISIBLE_SECONDS_MAX: Final = 120
YEAR: Final = timedelta(days=365)
REPOSITORY: Final = Path(__file__).parents[2]


class Installed:
    """The installed product in one guest, or in a machine with a clock and a pace of its own.

    `patience` is how many times longer than usual everything may take; asking a slow machine all
    the time would keep it from its work. `around` is how far from now events are asked for.
    """

    def __init__(self, guest: Guest | Machine, *, port: int = 8080, patience: float = 1) -> None:
        self.guest = guest
        self.around = timedelta(days=3)
        self._patience = patience
        self._pause = 0.05 if patience == 1 else 5.0
        self.url = f"http://127.0.0.1:{port}"
        self.project_id = ""
        self.public_key = ""
        self.private_key = ""

    def pug(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the installed command as root."""
        return self.guest.run("pug-appliance", *arguments, check=check)

    def pug_json(self, *arguments: str) -> Json:
        """Run the installed command with `--json`; its last line."""
        answer = self.pug(*arguments, "--json").stdout.strip()
        try:
            decoded = json.loads(answer)
        except json.JSONDecodeError:
            decoded = json.loads(answer.splitlines()[-1])
        return msgspec.convert(decoded, Json)

    def make_project(self, name: str = "Airgap") -> None:
        """A project with both keys, as an operator makes them."""
        made = self.pug_json("project", "create", name)
        self.project_id = _text(made, "id")
        self.public_key = _text(made, "public_key", "key")
        private = self.pug_json("key", "create", self.project_id, "--kind", "private")
        self.private_key = _text(private, "key")

    def post(self, events: list[Json]) -> int:
        """Send one batch from inside the guest; the HTTP status."""
        return self._curl(BATCH_CREATE, {"events": events}, self.public_key)[0]

    def send(self, kind: str, count: int, *, at: datetime | None = None) -> None:
        """Send events, of now or of another time, and have them acknowledged."""
        batch = [make_event(kind, distinct_id=f"anon-{number}") for number in range(count)]
        if at is not None:
            batch = [{**event, "occurTime": f"{at:%Y-%m-%dT%H:%M:%SZ}"} for event in batch]
        status = self.post(batch)
        assert status == 200, status

    def trend(self, kind: str, *, raw: bool = False) -> float:
        """All events of a kind, from the roll-up or, with `raw`, from the events themselves."""
        today = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        event: Json = {"kind": kind}
        if raw:
            event["filters"] = [{"property": "surely", "operator": "FILTER_OPERATOR_IS_NOT_SET"}]
        request: Json = {
            "spec": {
                "insightType": "INSIGHT_TYPE_TRENDS",
                "events": [{"event": event, "aggregation": "AGGREGATION_TYPE_TOTAL"}],
            },
            "timeRange": {
                "from": (today - self.around).isoformat(),
                "to": (today + self.around).isoformat(),
            },
            "granularity": f"GRANULARITY_{'DAY' if self.around < YEAR else 'MONTH'}",
        }
        status, answer = self._curl(QUERY, request, self.private_key)
        assert status == 200, (status, answer)
        series = json.loads(answer)["trends"].get("series", [])
        return sum(point["value"] for line in series for point in line["points"])

    def shows(self, kind: str, count: int) -> None:
        """Wait until both paths show `count` events of a kind, and assert that none is doubled."""
        for raw in (False, True):

            def reached(*, raw: bool = raw) -> float | None:
                total = self.trend(kind, raw=raw)
                return total if total >= count else None

            what = f"{kind} at {count} ({'raw' if raw else 'roll-up'})"
            limit = VISIBLE_SECONDS_MAX * self._patience
            assert until(reached, what=what, seconds=limit, pause=self._pause) == count

    def is_answering(self) -> bool:
        """Whether the public port says that everything is ready."""
        done = self.guest.run(
            *("curl", "-sf", "-m", f"{5 * self._patience:.0f}", "-o", "/dev/null"),
            f"{self.url}/readyz",
            check=False,
        )
        return done.returncode == 0

    def wait_answering(self, *, seconds: float = 180) -> None:
        """Wait until the public port says that everything is ready."""
        limit = seconds * self._patience
        until(
            lambda: self.is_answering() or None,
            what="readiness",
            seconds=limit,
            pause=self._pause,
        )

    def _curl(self, path: str, body: Json, key: str) -> tuple[int, str]:
        self.guest.write("/root/request.json", json.dumps(body))
        limit = f"{30 * self._patience:.0f}"
        done = self.guest.run(
            *("curl", "-s", "-m", limit, "-w", "\n%{http_code}", "-H", f"x-api-key: {key}"),
            *("-H", "content-type: application/json", "--data-binary", "@/root/request.json"),
            f"{self.url}{path}",
            check=False,
        )
        if done.returncode != 0:
            raise CommandFailedError(f"curl {path}: status {done.returncode} {done.stderr}")
        answer, _, status = done.stdout.rpartition("\n")
        return int(status), answer

    @contextmanager
    def load(
        self, kind: str, *, senders: int = 4, rate: float = 25.0, events: int = 20
    ) -> Generator["Load"]:
        """Clients that send each batch once, for the length of a block; from outside of a guest."""
        assert isinstance(self.guest, Guest)
        process = subprocess.Popen(
            [
                *self.guest.enter("--net"),
                *(sys.executable, "-m", "tests.support.sender", "--url", self.url),
                *("--key", self.public_key, "--kind", kind),
                *("--senders", str(senders), "--rate", str(rate), "--events", str(events)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        assert process.stdout is not None
        process.stdout.readline()
        load = Load()
        try:
            yield load
        finally:
            process.send_signal(signal.SIGTERM)
            summary = process.communicate(timeout=120)[0]
            load.report = json.loads(summary)


class Load:
    """What the clients of a `load` block saw; filled when the block has ended."""

    def __init__(self) -> None:
        self.report: Json = {}

    def count(self, field: str) -> float:
        """One number of the report."""
        value = self.report[field]
        assert isinstance(value, int | float)
        return value


def _text(answer: Json, *names: str) -> str:
    for name in names:
        value = answer.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, dict):
            return _text(msgspec.convert(value, Json), *names)
    raise AssertionError(f"none of {names} in {answer}")
