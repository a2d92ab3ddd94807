"""The duty of the scheduler, with all that its jobs need.

Invariant: it takes part whether it leads or waits; what the machine half of
the appliance must do for a job (let the events worker rest, look at backups) comes in as functions
from the command line, the only place that knows both halves.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.ids import IdMaker, random_token
from appliance.config.model import Settings
from appliance.services.jobs.desk import Desk, Job, LookAround, Quiet
from appliance.services.jobs.leadership import Leadership, LeaseTiming
from appliance.services.jobs.mailing import find_mailer
from appliance.services.jobs.metering import find_meter
from appliance.services.jobs.registry import JOBS
from appliance.services.jobs.requests import RUN_SUBJECT
from appliance.services.wiring import Services
from appliance.storage.clickhouse.client import ClickHouse
from appliance.workers.duty import Duty
from appliance.workers.scheduler import WORKER_NAME, Scheduler
from appliance.workers.state import WorkerState

_NAME_CHARACTERS_MAX: Final = 30


class Hands(Struct, frozen=True, kw_only=True):
    """What jobs ask of the machine half of the appliance."""

    quiet: Quiet
    look_around: LookAround


def scheduler_duty(
    services: Services,
    settings: Settings,
    clock: Clock,
    hands: Hands,
    *,
    timing: LeaseTiming | None = None,
    jobs: Sequence[Job] = JOBS,
    patient: ClickHouse | None = None,
) -> Duty:
    """Run what is due by itself; `patient` is the event store for statements that take long."""
    stores = services.stores
    if patient is not None:
        stores = msgspec.structs.replace(stores, clickhouse=patient)
    desk = Desk(
        lead=Leadership(stores.postgres, clock, holder=holder_name(), timing=timing),
        stores=stores,
        clock=clock,
        ids=IdMaker(clock),
        mailer=find_mailer(settings.email, services.control.mail.delivery),
        quiet=hands.quiet,
        look_around=hands.look_around,
        meter=find_meter(services.control),
        audit_seconds=float(settings.audit.retention),
        dashboard_url=services.control.links.base_url,
        insights=services.insights,
    )
    scheduler = Scheduler(desk, jobs)
    stores.streams.listen(RUN_SUBJECT, scheduler.ask)
    # It takes part from the beginning: a store that is away is waited for.
    state = WorkerState(name=WORKER_NAME, started=True)

    async def run(stop: asyncio.Event) -> None:
        state.broken = ""
        await scheduler.run(stop)

    return Duty(state=state, run=run)


def holder_name() -> str:
    """Who leads, as people read it: machine, process, and chance against reuse of both."""
    machine = socket.gethostname()[:_NAME_CHARACTERS_MAX]
    return f"{machine}:{os.getpid()}:{random_token(4)}"
