"""The duty of mail; without any provider it idles.

Invariant: idling takes no job and loads no mail library; it says once what to set and stays until
it is stopped, so that nobody restarts it in a loop.
"""

import asyncio
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.config.model import Settings
from appliance.services.mail.readiness import has_mail, missing_settings
from appliance.services.stores import Stores
from appliance.storage.streams.mail import EMAIL_DURABLE, EMAIL_STREAM, EMAIL_WORKER
from appliance.workers.duty import Duty
from appliance.workers.state import WorkerState

_LOG: Final = structlog.stdlib.get_logger()


def email_duty(stores: Stores, settings: Settings, clock: Clock) -> Duty:
    """Hand mails of the queue to the mail provider; without one, nothing."""
    if not has_mail(settings.email):
        return _idle(settings)
    state = WorkerState(name=EMAIL_WORKER, stream=EMAIL_STREAM, consumer=EMAIL_DURABLE)

    async def run(stop: asyncio.Event) -> None:
        # Only now, because an idle process needs none of it.
        from appliance.workers.email import serve_email  # noqa: PLC0415

        _tell_missing(settings)
        await serve_email(stores.postgres, settings, stores.streams, state, stop, clock)

    return Duty(state=state, run=run)


def _idle(settings: Settings) -> Duty:
    state = WorkerState(name=EMAIL_WORKER)

    async def run(stop: asyncio.Event) -> None:
        _LOG.info("worker_idle", worker=EMAIL_WORKER, missing=missing_settings(settings.email))
        state.started = True
        await stop.wait()

    return Duty(state=state, run=run)


def _tell_missing(settings: Settings) -> None:
    missing = missing_settings(settings.email)
    if missing:
        _LOG.warning("mail_of_organisations_only", missing=missing)
    elif settings.email.provider_secret_key is None:
        _LOG.warning("mail_of_organisations_off", missing="email.provider_secret_key")
