"""Runs the e-mail worker as a process; without any provider the process idles.

Invariant: idling takes no job and loads neither mail library nor driver; it says once what to set
and stays until it is stopped, so that nobody restarts it in a loop.
"""

import asyncio
import signal
from typing import Final

import structlog

from appliance.base.ready import announce_ready
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.services.mail.readiness import has_mail, missing_settings
from appliance.storage.streams.mail import EMAIL_WORKER
from appliance.workers.health import HealthListener
from appliance.workers.state import WorkerState

_LOG: Final = structlog.stdlib.get_logger()


async def run_email_worker(settings: Settings) -> None:
    """Run the e-mail worker until SIGTERM or SIGINT; the process's whole life."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if has_mail(settings.email):
        # Only now, because an idle process needs none of it.
        from appliance.workers.email import serve_email_worker  # noqa: PLC0415

        await serve_email_worker(resolve_endpoints(settings), settings, stop)
    else:
        await _idle(settings, stop)


async def _idle(settings: Settings, stop: asyncio.Event) -> None:
    state = WorkerState(name=EMAIL_WORKER, started=True, connected=True)
    async with HealthListener(settings.worker.health_addr, (state,)) as health:
        _LOG.info("worker_idle", worker=EMAIL_WORKER, missing=missing_settings(settings.email))
        announce_ready(port=health.port)
        await stop.wait()
    _LOG.info("worker_stopped", worker=EMAIL_WORKER, mails=0)
