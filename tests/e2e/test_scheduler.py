"""The scheduler in the whole appliance: jobs, audit log, reports, by the command line."""

import json
import threading
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from uuid import uuid4

import psutil
import pytest

from appliance.services.jobs.registry import JOBS
from tests.support.stack import (
    VISIBLE_SECONDS_MAX,
    Json,
    Stack,
    make_event,
    pug,
    running_stack,
    until,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    data_dir: Path = tmp_path_factory.mktemp("scheduler") / "data"
    with running_stack(data_dir) as running:
        yield running


def told(stack: Stack, *arguments: str) -> Json:
    answer = pug(*arguments, "--json", data_dir=stack.data_dir)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture(scope="module", autouse=True)
def first_runs(stack: Stack) -> list[Json]:
    """The first run of every job, waited for before any test asks for a run or kills a leader."""

    def all_ran() -> list[Json] | None:
        jobs = told(stack, "jobs", "list")["jobs"]
        assert isinstance(jobs, list)
        ran = [one["last"] for one in jobs if one["last"] and one["last"]["ended_at"]]
        return ran if len(ran) == len(JOBS) else None

    return until(all_ran, what="every job", seconds=VISIBLE_SECONDS_MAX)


class Traffic:
    """Events of one session, posted one after the other for the length of a block."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._post)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _post(self) -> None:
        session = str(uuid4())
        while not self._end.is_set():
            event = make_event("busy") | {"sessionId": session}
            if self._stack.post([event]).status_code == 200:
                self.sent += 1


def test_every_job_has_run(stack: Stack, first_runs: list[Json]) -> None:
    """At its first start the leader runs every job once, and `status` says who leads."""
    outcomes = {run["name"]: run["outcome"] for run in first_runs}
    assert outcomes == {job.name: "ok" for job in JOBS}, first_runs
    stack.wait_ready()
    assert stack.status()["background"]["state"] == "READY"
    stack.wait_led()

    def led() -> bool | None:
        return "jobs: led by" in pug("status", data_dir=stack.data_dir).stdout or None

    until(led, what="a leader in the table", seconds=VISIBLE_SECONDS_MAX)


def test_retention(stack: Stack) -> None:
    """Events older than their project wants go while others arrive; nothing else is lost."""
    project = stack.connection.project_id
    told(stack, "project", "retention", project, "--days", "30")
    old = datetime.now(tz=UTC) - timedelta(days=40)
    late = [
        make_event("kept") | {"occurTime": old.isoformat(timespec="milliseconds")[:23] + "Z"}
        for _ in range(3)
    ]
    assert stack.post([*late, make_event("kept"), make_event("kept")]).status_code == 200
    stack.trend_reaches("kept", 2)
    stack.wait_led()
    with Traffic(stack) as traffic:
        done = told(stack, "jobs", "run", "retention")
    assert done["outcome"] == "ok"
    assert str(done["detail"]).startswith("3 events of 1 projects")
    assert traffic.sent > 0
    stack.trend_reaches("busy", traffic.sent)
    stack.trend_reaches("busy", traffic.sent, raw=True)
    stack.trend_reaches("kept", 2, raw=True)
    done = told(stack, "jobs", "run", "retention")
    assert done["detail"] == "nothing to take away, 1 projects with a limit"


def test_audit_log(stack: Stack) -> None:
    """What was done on the command line is in the log, as a table, as JSON, as JSON lines."""
    listed = told(stack, "audit", "list", "--action", "project")
    assert isinstance(listed, list)
    exported = pug("audit", "export", "--since", "1d", data_dir=stack.data_dir)
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert {one["id"] for one in listed} <= {one["id"] for one in lines}
    assert [one["at"] for one in lines] == sorted(one["at"] for one in lines)
    assert lines
    assert {one["actor_kind"] for one in lines} == {"operator"}
    assert "WHEN" in pug("audit", "list", data_dir=stack.data_dir).stdout
    refused = pug("audit", "export", "--since", "yesterday", data_dir=stack.data_dir)
    assert refused.returncode == 2


def test_reports(stack: Stack) -> None:
    """A report for somebody who is not a member is refused in one line."""
    project = stack.connection.project_id
    refused = pug(
        *("report", "subscribe", "--project", project, "--email", "nobody@pug.test"),
        data_dir=stack.data_dir,
    )
    assert refused.returncode == 1
    assert "nobody of this address" in refused.stderr
    assert told(stack, "report", "list") == []


def test_unknown_job(stack: Stack) -> None:
    refused = pug("jobs", "run", "everything", data_dir=stack.data_dir)
    assert refused.returncode == 1
    assert "retention" in refused.stderr


def test_killed(stack: Stack) -> None:
    """A scheduler that is killed comes back and leads in a new term when the lease is over."""
    before = stack.wait_led()
    psutil.Process(stack.pid("background")).kill()

    def later() -> Json | None:
        now = stack.wait_led()
        return now if now["term"] != before["term"] else None

    after = until(later, what="a new term", seconds=VISIBLE_SECONDS_MAX)
    assert after["holder"] != before["holder"]
    stack.wait_ready()


def test_doctor(stack: Stack) -> None:
    """The doctor sees who leads, and is content."""

    def findings() -> list[Json]:
        answer = pug("doctor", "--json", "--only", "operation", data_dir=stack.data_dir)
        found = json.loads(answer.stdout)["findings"]
        return [one for one in found if one["check"] == "jobs"]

    stack.wait_led()

    def content() -> bool | None:
        return [one["severity"] for one in findings()] == ["ok"] or None

    until(content, what="a content doctor", seconds=VISIBLE_SECONDS_MAX)
