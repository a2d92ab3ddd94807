"""Runs the e-mail worker as a process; without any provider the process idles.

Invariant: idling takes no job and loads no mail library; it says once what to set and stays until
it is stopped, so that nobody restarts it in a loop. READY is announced when it works or idles.
"""

import asyncio
import signal
from typing import Final

import structlog

from appliance.base.clock import Clock, SystemClock
from appliance.base.ready import announce_ready
from appliance.config.endpoints import Endpoints, resolve_endpoints
from appliance.config.model import Settings
from appliance.services.mail.readiness import has_mail, missing_settings
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.mail import EMAIL_DURABLE, EMAIL_STREAM
from appliance.workers.health import HealthListener
from appliance.workers.state import WorkerState

WORKER_NAME: Final = "email"
WATCH_SECONDS: Final = 0.1

_LOG: Final = structlog.stdlib.get_logger()


async def run_email_worker(settings: Settings) -> None:
    """Run the e-mail worker until SIGTERM or SIGINT; the process's whole life."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if has_mail(settings.email):
        await serve_email_worker(resolve_endpoints(settings), settings, stop)
    else:
        await _idle(settings, stop)


async def serve_email_worker(
    endpoints: Endpoints, settings: Settings, stop: asyncio.Event, clock: Clock | None = None
) -> None:
    """Run the e-mail worker until `stop`."""
    # Only now, because an idle process needs none of it.
    from appliance.workers.email import serve_email  # noqa: PLC0415

    missing = missing_settings(settings.email)
    if missing:
        _LOG.warning("mail_of_organisations_only", missing=missing)
    elif settings.email.provider_secret_key is None:
        _LOG.warning("mail_of_organisations_off", missing="email.provider_secret_key")
    chosen = clock or SystemClock()
    streams = Streams(endpoints.nats, name="pug-worker-email")
    state = WorkerState(name=WORKER_NAME, stream=EMAIL_STREAM, consumer=EMAIL_DURABLE)
    ended = asyncio.Event()
    try:
        async with (
            HealthListener(settings.worker.health_addr, (state,)) as health,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(_watch(state, streams, health, ended))
            try:
                await serve_email(endpoints, settings, streams, state, stop, chosen)
            except Exception as error:
                state.broken = type(error).__name__
                raise
            finally:
                ended.set()
    finally:
        await streams.close()
    _LOG.info("worker_stopped", worker=WORKER_NAME, mails=state.rows)


async def _idle(settings: Settings, stop: asyncio.Event) -> None:
    state = WorkerState(name=WORKER_NAME, started=True, connected=True)
    async with HealthListener(settings.worker.health_addr, (state,)) as health:
        _LOG.info("worker_idle", worker=WORKER_NAME, missing=missing_settings(settings.email))
        announce_ready(port=health.port)
        await stop.wait()
    _LOG.info("worker_stopped", worker=WORKER_NAME, mails=0)


async def _watch(
    state: WorkerState, streams: Streams, health: HealthListener, ended: asyncio.Event
) -> None:
    """Keep the connection's state up to date, and announce READY once."""
    announced = False
    while not ended.is_set():
        state.connected = streams.connected
        if state.started and not announced:
            announced = True
            announce_ready(port=health.port)
            _LOG.info("worker_ready", worker=WORKER_NAME, health_port=health.port)
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                await ended.wait()
        except TimeoutError:
            continue
