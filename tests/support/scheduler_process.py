"""A scheduler as a process of its own, with one job that a test can hold up.

Invariant: the product's scheduler and lease, only with a shorter lease, and with one job that
appends its pid to `<folder>/begun`, waits for `<folder>/go`, then writes one row to the table
`acts`: fenced as jobs are, or not fenced, which is the control arm. With `<folder>/stuck` it keeps
the whole process from doing anything while it waits.

    python -m tests.support.scheduler_process DATA_DIR SCHEMA FOLDER fenced|unfenced
"""

import asyncio
import os
import signal
import sys
import threading
import uuid
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec

from appliance.base.clock import SystemClock
from appliance.base.log import configure_logging
from appliance.base.tasks import finish
from appliance.config.endpoints import PostgresEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.domain.schedule import Every
from appliance.services.jobs.desk import Desk, Job, Reminder
from appliance.services.jobs.leadership import LeaseTiming
from appliance.services.wiring import Services
from appliance.workers.health import OFF
from appliance.workers.process import serve_duties
from appliance.workers.scheduler_duty import Hands, scheduler_duty
from tests.support.engines import engine_settings

TIMING = LeaseTiming(lease_seconds=6.0, renew_seconds=0.5, look_seconds=0.1)
JOB = "held-up"
_POLL_SECONDS = 0.05


async def act(desk: Desk, *, fenced: bool) -> None:
    """Write one row."""
    statement = "INSERT INTO acts (pid) VALUES ($1)"
    if not fenced:
        await desk.stores.postgres.execute(statement, os.getpid())
        return
    async with desk.lead.fenced() as transaction:
        await transaction.execute(statement, os.getpid())


def make_job(folder: Path, *, fenced: bool) -> Job:
    """The job; due once, because its period is longer than any test."""

    async def work(desk: Desk) -> str:
        with (folder / "begun").open("a") as file:
            file.write(f"{os.getpid()}\n")
        pause = threading.Event()
        while (folder / "stuck").exists() and not (folder / "go").exists():
            pause.wait(_POLL_SECONDS)  # the whole process hangs, its renewals too
        while not (folder / "go").exists():  # noqa: ASYNC110 a file of the test, not of this loop
            await asyncio.sleep(_POLL_SECONDS)
        # It cannot be called off: only the fence is between it and the table.
        await finish(act(desk, fenced=fenced), timeout_seconds=10.0)
        return f"by {os.getpid()}"

    schedule = Every(timedelta(days=365))
    return Job(name=JOB, purpose="", schedule=schedule, seconds_max=120.0, work=work)


async def run(arguments: list[str]) -> None:
    """Run until told to stop."""
    data_dir, schema, folder, mode = arguments
    found = resolve_endpoints(engine_settings(Path(data_dir)))
    url = f"{found.postgres.url.reveal()}?search_path={schema}"
    endpoints = msgspec.structs.replace(
        found, postgres=PostgresEndpoint(url=Secret(url), pool_size_max=4, external=False)
    )
    settings = Settings(data_dir=Path(data_dir))
    services = Services(
        endpoints,
        name="pug-test-scheduler",
        settings=settings,
        signing_key=Secret(uuid.uuid4().hex * 2),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    @asynccontextmanager
    async def quiet():
        yield

    async def look_around() -> tuple[Reminder, ...]:
        return ()

    clock = SystemClock()
    duty = scheduler_duty(
        services,
        settings,
        clock,
        Hands(quiet=quiet, look_around=look_around),
        timing=TIMING,
        jobs=(make_job(Path(folder), fenced=mode == "fenced"),),
    )
    try:
        await serve_duties((duty,), stop, health_address=OFF, connected=lambda: True)
    finally:
        await services.close()


if __name__ == "__main__":
    configure_logging(component="scheduler", readable=False)
    asyncio.run(run(sys.argv[1:]))
