"""Runs a scheduler as a process: opens what jobs need, says READY, stops on a signal.

Invariant: READY is announced when the scheduler takes part, whether it leads or waits; what the
machine half of the appliance must do for a job (let the events worker rest, look at backups) comes
in as functions from the command line, the only place that knows both halves.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from appliance.base.clock import Clock, SystemClock
from appliance.base.errors import ApplianceError
from appliance.base.ids import IdMaker, random_token
from appliance.base.ready import announce_ready
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.services.jobs.desk import Desk, Job, LookAround, Quiet
from appliance.services.jobs.leadership import Leadership, LeaseTiming
from appliance.services.jobs.mailing import find_mailer
from appliance.services.jobs.metering import find_meter
from appliance.services.jobs.registry import JOBS
from appliance.services.jobs.requests import RUN_SUBJECT
from appliance.services.wiring import Services, build_services
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.retention import STATEMENT_SECONDS_MAX
from appliance.workers.scheduler import Scheduler

_NAME_CHARACTERS_MAX: Final = 30

_LOG: Final = structlog.stdlib.get_logger()


async def run_scheduler(settings: Settings, *, quiet: Quiet, look_around: LookAround) -> None:
    """Run a scheduler until SIGTERM or SIGINT; the process's whole life."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    services = build_services(settings, name="pug-scheduler")
    patient = ClickHouse(
        resolve_endpoints(settings).clickhouse, answer_seconds_max=2 * STATEMENT_SECONDS_MAX
    )
    try:
        await serve_scheduler(
            services,
            settings,
            stop,
            quiet=quiet,
            look_around=look_around,
            clock=SystemClock(),
            patient=patient,
        )
    finally:
        await patient.close()


async def serve_scheduler(
    services: Services,
    settings: Settings,
    stop: asyncio.Event,
    *,
    quiet: Quiet,
    look_around: LookAround,
    clock: Clock,
    timing: LeaseTiming | None = None,
    jobs: Sequence[Job] = JOBS,
    patient: ClickHouse | None = None,
) -> None:
    """Run a scheduler until `stop`; the services are closed at the end.

    `patient` is the event store for statements that take long.
    """
    stores = services.stores
    if patient is not None:
        stores = msgspec.structs.replace(stores, clickhouse=patient)
    desk = Desk(
        lead=Leadership(stores.postgres, clock, holder=holder_name(), timing=timing),
        stores=stores,
        clock=clock,
        ids=IdMaker(clock),
        mailer=find_mailer(settings.email, services.control.mail.delivery),
        quiet=quiet,
        look_around=look_around,
        meter=find_meter(services.control),
        audit_seconds=float(settings.audit.retention),
        dashboard_url=services.control.links.base_url,
    )
    scheduler = Scheduler(desk, jobs)
    stores.streams.listen(RUN_SUBJECT, scheduler.ask)
    try:
        try:
            await services.open()
        except ApplianceError as error:
            _LOG.warning("queue_not_connected", reason=error.reason)
        announce_ready()
        await scheduler.run(stop)
    finally:
        await services.close()


def holder_name() -> str:
    """Who leads, as people read it: machine, process, and chance against reuse of both."""
    machine = socket.gethostname()[:_NAME_CHARACTERS_MAX]
    return f"{machine}:{os.getpid()}:{random_token(4)}"
