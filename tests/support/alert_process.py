"""The scheduler's job and the courier as a process of its own, to be killed in the middle.

Invariant: the product's own evaluating and sending on real stores at an instant that the test
names; only `unqueued`, the control arm, does what the product does not: it decides and commits
first, and would tell afterwards from its own memory.

    python -m tests.support.alert_process JSON-OF-ARGUMENTS queued|unqueued|send
"""

import asyncio
import os
import sys
from datetime import datetime
from pathlib import Path

import msgspec

from appliance.base.log import configure_logging
from appliance.base.ready import announce_ready
from appliance.base.units import Seconds
from appliance.config.alerts import AlertSettings
from appliance.config.endpoints import PostgresEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.config.people import EmailSettings, SmtpSecurity, SmtpSettings
from appliance.config.secrets import Secret
from appliance.domain.alerts.condition import Act, judge, state_after
from appliance.services.alerts.measuring import is_held, measure
from appliance.services.jobs.alerts import evaluate_alerts
from appliance.services.wiring import Services
from appliance.storage.postgres.alert_firings import add_firing
from appliance.storage.postgres.alerts import LastFound, list_due_alerts, note_found
from appliance.workers.alerts import make_courier
from tests.support.alert_stage import MAIL_KEY, make_desk
from tests.support.clocks import FixedClock
from tests.support.engines import engine_settings

FOREVER: Seconds = Seconds(86400)


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stores are, what time it is, and who may be told."""

    data_dir: str
    schema: str
    event_database: str
    now: datetime
    smtp_port: int
    hosts: tuple[str, ...]


def make_services(arguments: Arguments, clock: FixedClock) -> tuple[Services, Settings]:
    """The product's services on the stores of the test."""
    found = resolve_endpoints(engine_settings(Path(arguments.data_dir)))
    url = f"{found.postgres.url.reveal()}?search_path={arguments.schema}"
    endpoints = msgspec.structs.replace(
        found,
        postgres=PostgresEndpoint(url=Secret(url), pool_size_max=4, external=False),
        clickhouse=msgspec.structs.replace(found.clickhouse, database=arguments.event_database),
    )
    settings = Settings(
        data_dir=Path(arguments.data_dir),
        email=EmailSettings(
            sender="Pug <pug@example.com>",
            dashboard_base_url="https://pug.test",
            provider_secret_key=MAIL_KEY,
            smtp=SmtpSettings(
                host="127.0.0.1", port=arguments.smtp_port, security=SmtpSecurity.NONE
            ),
        ),
        alerts=AlertSettings(webhook_hosts=arguments.hosts),
    )
    return Services(endpoints, name="pug-test-alerts", clock=clock, settings=settings), settings


async def decide_without_queue(services: Services, clock: FixedClock) -> None:
    """The control arm: a change is committed, and its messages are nowhere but here."""
    now = clock.now()
    database = services.stores.postgres
    for alert in await list_due_alerts(database, now=now, without=(), limit=10):
        numbers = await measure(services.insights, alert, now)
        act = judge(alert.state, held=is_held(alert.settings.condition, numbers))
        assert act is Act.FIRED
        async with database.transaction() as transaction:
            found = LastFound(
                at=now,
                value=numbers.value,
                baseline=numbers.baseline,
                window_start=numbers.window_start,
                window_end=numbers.window_end,
            )
            state = state_after(act)
            await note_found(transaction, alert.id, state=state, next_at=now, found=found)
            await add_firing(transaction, "f" * 20, alert, numbers, at=now)


async def run(arguments: Arguments, mode: str) -> None:
    """Do one half of the work; after deciding, wait to be killed."""
    clock = FixedClock(arguments.now)
    services, settings = make_services(arguments, clock)
    try:
        if mode == "send":
            courier = make_courier(services, settings, clock)
            announce_ready(port=0)
            while await courier.deliver_due():
                pass
            return
        if mode == "queued":
            desk = make_desk(services, clock, holder=f"process:{os.getpid()}")
            assert await desk.lead.take()
            await evaluate_alerts(desk)
        else:
            await decide_without_queue(services, clock)
        announce_ready(port=0)
        await asyncio.sleep(FOREVER)
    finally:
        await services.close()


if __name__ == "__main__":
    configure_logging(component="alerts", readable=False)
    asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Arguments), sys.argv[2]))
