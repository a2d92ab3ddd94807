"""Two real schedulers on one database: kill the leader, stop the leader, let both end."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.base.ready import READY_DESCRIPTOR_VARIABLE, parse_ready
from appliance.base.tasks import poll
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.jobs import JobRun
from appliance.domain.schedule import Outcome
from appliance.storage.migrate import migrate_postgres
from appliance.storage.postgres.jobs import list_runs, look_at_lease
from appliance.storage.postgres.pool import Postgres
from tests.support.control import own_schema
from tests.support.scheduler_process import JOB

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 60.0


class Pair:
    """A database with two schedulers on it."""

    def __init__(self, settings: Settings, schema: str, folder: Path, database: Postgres) -> None:
        self._settings = settings
        self._schema = schema
        self.folder = folder
        self.database = database

    @contextmanager
    def scheduler(self, mode: str = "fenced") -> Generator[subprocess.Popen[bytes]]:
        """A scheduler that takes part, ended with the block."""
        reading, writing = os.pipe()
        with (self.folder / "log").open("ab") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.support.scheduler_process"),
                    *(str(self._settings.data_dir), self._schema, str(self.folder), mode),
                ],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                pass_fds=[writing],
                env={**os.environ, READY_DESCRIPTOR_VARIABLE: str(writing)},
            )
        os.close(writing)
        try:
            with os.fdopen(reading, "rb") as pipe:
                assert parse_ready(pipe.readline()), (self.folder / "log").read_text()
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(timeout=WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    async def begun(self, number: int) -> list[int]:
        """The pids of those that began the job, as soon as there are so many."""

        async def look() -> list[int] | None:
            file = self.folder / "begun"
            pids = [int(line) for line in file.read_text().split()] if file.exists() else []
            return pids if len(pids) >= number else None

        found = await poll(look, every_seconds=0.02, timeout_seconds=WAIT_SECONDS)
        assert found is not None, (self.folder / "log").read_text()
        return found

    async def runs(self, *outcomes: Outcome) -> list[JobRun]:
        """The record of the job, newest first, once it ended so."""

        async def look() -> list[JobRun] | None:
            found = list(await list_runs(self.database, JOB, limit=10))
            return found if [one.outcome for one in found] == list(outcomes) else None

        found = await poll(look, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
        assert found is not None, (self.folder / "log").read_text()
        return found

    async def acts(self) -> list[int]:
        rows = await self.database.rows("SELECT pid FROM acts ORDER BY number")
        return [int(str(row["pid"])) for row in rows]

    async def hurry(self) -> None:
        """Let the next leader repeat an abandoned run at once instead of in a minute."""
        await self.database.execute(
            "UPDATE job_runs SET end_time = end_time - interval '2 hours' WHERE outcome = 'failed'"
        )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def pair(engines: Settings, tmp_path: Path, anyio_backend: str) -> AsyncGenerator[Pair]:
    async with own_schema(resolve_endpoints(engines)) as endpoints:
        await migrate_postgres(endpoints.postgres, lambda _name: None)
        database = Postgres(endpoints.postgres)
        await database.execute(
            "CREATE TABLE acts (number int GENERATED ALWAYS AS IDENTITY, pid int)"
        )
        schema = endpoints.postgres.url.reveal().rpartition("search_path=")[2]
        try:
            yield Pair(engines, schema, tmp_path, database)
        finally:
            await database.close()


async def failed(pair: Pair, holder_pid: int) -> None:
    """The other one has taken over and closed the run of `holder_pid`."""
    [run] = await pair.runs(Outcome.FAILED)
    assert run.detail == "its leader was lost"
    assert f":{holder_pid}:" in run.leader


async def test_killed_leader(pair: Pair) -> None:
    """A leader killed in the middle of a job is followed within its lease; the job runs again."""
    with pair.scheduler() as first:
        assert await pair.begun(1) == [first.pid]
        with pair.scheduler() as second:
            lease = await look_at_lease(pair.database, "scheduler")
            assert lease is not None
            assert f":{first.pid}:" in lease.holder
            first.kill()
            await failed(pair, first.pid)
            (pair.folder / "go").touch()
            await pair.hurry()
            again, lost = await pair.runs(Outcome.OK, Outcome.FAILED)
            assert again.due_at == lost.due_at
            assert again.detail == f"by {second.pid}"
            assert await pair.acts() == [second.pid]
            following = await look_at_lease(pair.database, "scheduler")
            assert following is not None
            assert following.term == lease.term + 1


@pytest.mark.parametrize("mode", ["fenced", "unfenced"])
async def test_stopped_leader(pair: Pair, mode: str) -> None:
    """A leader that sleeps beyond its lease and wakes up inside a job neither acts nor records;
    without the fence it acts a second time."""
    (pair.folder / "stuck").touch()
    with pair.scheduler(mode) as first:
        await pair.begun(1)
        first.send_signal(signal.SIGSTOP)
        with pair.scheduler(mode) as second:
            await failed(pair, first.pid)
            (pair.folder / "go").touch()
            await pair.hurry()
            await pair.runs(Outcome.OK, Outcome.FAILED)
            first.send_signal(signal.SIGCONT)

            async def noticed() -> bool | None:
                log = (pair.folder / "log").read_text()
                return (f":{first.pid}:" in log and "scheduler_stepped_down" in log) or None

            assert await poll(noticed, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
            acts = await pair.acts()
            assert acts == ([second.pid] if mode == "fenced" else [second.pid, first.pid])
            runs = await pair.runs(Outcome.OK, Outcome.FAILED)
            assert runs[0].detail == f"by {second.pid}"


async def test_orderly_end(pair: Pair) -> None:
    """A leader that is told to stop gives its run and its lease back at once."""
    with pair.scheduler() as first:
        await pair.begun(1)
        first.terminate()
        assert first.wait(timeout=WAIT_SECONDS) == 0
    [run] = await pair.runs(Outcome.FAILED)
    assert run.detail == "stopped before it was done"
    lease = await look_at_lease(pair.database, "scheduler")
    assert lease is not None
    (pair.folder / "go").touch()
    await pair.hurry()
    with pair.scheduler() as second:
        await pair.runs(Outcome.OK, Outcome.FAILED)
        assert await pair.acts() == [second.pid]
