"""The duty that sends what alerts have to tell.

Invariant: it asks the database every few seconds and does nothing else; an outage is waited out.
Several processes may do it side by side, a message is taken by one of them. What is sent and how
often: `services/alerts/delivery.py`. Who decides that something is told: the scheduler's job
`alerts`.
"""

import asyncio
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError
from appliance.base.tasks import wait
from appliance.config.model import Settings
from appliance.services.alerts.delivery import AlertCourier
from appliance.services.alerts.desk import read_allow_list
from appliance.services.alerts.sealing import SecretSealer
from appliance.services.alerts.webhooks import WebhookSender
from appliance.services.wiring import Services
from appliance.workers.duty import Duty
from appliance.workers.state import WorkerState

WORKER_NAME: Final = "alerts"
LOOK_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 5.0

_LOG: Final = structlog.stdlib.get_logger()


def alerts_duty(
    services: Services, settings: Settings, clock: Clock, *, look_seconds: float = LOOK_SECONDS
) -> Duty:
    """Send messages about firings until it is stopped; making it touches no network."""
    courier = make_courier(services, settings, clock)
    # It takes part from the beginning: a store that is away is waited for.
    state = WorkerState(name=WORKER_NAME, started=True)

    async def run(stop: asyncio.Event) -> None:
        state.broken = ""
        while not stop.is_set():
            try:
                sent = await courier.deliver_due()
            except ApplianceError as error:
                _note_pause(state, error.reason)
                await wait(stop, PAUSE_SECONDS)
                continue
            _note_pause(state, "")
            state.rows += sent
            if not sent:
                await wait(stop, look_seconds)

    return Duty(state=state, run=run)


def make_courier(services: Services, settings: Settings, clock: Clock) -> AlertCourier:
    """Who sends; raises MisconfiguredError for a listed host that is none."""
    return AlertCourier(
        services.stores.postgres,
        services.control.mail.delivery,
        WebhookSender(read_allow_list(settings), clock, ca_file=settings.alerts.ca_file),
        SecretSealer(settings.email.provider_secret_key),
        link=services.control.links.base_url,
        clock=clock,
    )


def _note_pause(state: WorkerState, reason: str) -> None:
    if reason and reason != state.pause:
        state.pauses += 1
        _LOG.warning("worker_paused", worker=state.name, reason=reason)
    state.pause = reason
