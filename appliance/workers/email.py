"""The e-mail worker: jobs of the queue become mails in a provider's hands [workers 4].

Invariant: a settled job is removed from the stream, and its token stands in no dead letter and no
log (decision 0020). What failed and how often it is tried is the frame's business, see `queue.py`.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from protobuf import Oneof

from appliance.base.clock import Clock, SystemClock
from appliance.base.errors import InvalidInputError
from appliance.base.ready import announce_ready
from appliance.config.endpoints import Endpoints
from appliance.config.model import Settings
from appliance.gen.workers.email.v1.email_pb import OrgMemberInvitePayload
from appliance.services.links import DashboardLinks, dashboard_base_url
from appliance.services.mail.delivery import MailDelivery, parse_job, without_token
from appliance.services.mail.desk import make_delivery
from appliance.services.mail.readiness import missing_settings
from appliance.storage.postgres.pool import Postgres
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.deadletters import DeadLetters
from appliance.storage.streams.mail import (
    EMAIL_DURABLE,
    EMAIL_STREAM,
    EMAIL_SUBJECT,
    EMAIL_WORKER,
)
from appliance.storage.streams.work import WorkSource
from appliance.workers.health import HealthListener
from appliance.workers.queue import Limits, QueueWorker
from appliance.workers.state import WorkerState

PARALLEL: Final = 4
SECONDS_MAX: Final = 30.0
WATCH_SECONDS: Final = 0.1

_LOG: Final = structlog.stdlib.get_logger()


class EmailWork:
    """What a mail job asks for."""

    def __init__(self, delivery: MailDelivery) -> None:
        self._delivery = delivery

    @property
    def name(self) -> str:
        return EMAIL_WORKER

    async def handle(self, payload: bytes, /) -> None:
        """Send the mail of a job."""
        job = parse_job(payload)
        receipt = await self._delivery.deliver(job)
        _LOG.info("mail_sent", dispatch_id=job.dispatch_id, provider=receipt.provider)

    def labels(self, payload: bytes, /) -> Mapping[str, str]:
        """Which job it was, as far as that can be read."""
        try:
            job = parse_job(payload)
        except InvalidInputError:
            return {}
        match job.payload:
            case Oneof(value=OrgMemberInvitePayload() as invitation):
                return {"dispatch_id": job.dispatch_id, "invitation_id": invitation.invitation_id}
            case _:
                return {"dispatch_id": job.dispatch_id}

    def kept(self, payload: bytes, /) -> bytes:
        """The job without its token."""
        return without_token(payload)


async def serve_email(
    endpoints: Endpoints,
    settings: Settings,
    streams: Streams,
    state: WorkerState,
    stop: asyncio.Event,
    clock: Clock,
) -> None:
    """Handle mail jobs until `stop`.

    Raises MisconfiguredError for a file of authorities that cannot be used.
    """
    database = Postgres(endpoints.postgres)
    try:
        links = DashboardLinks(dashboard_base_url(settings))
        delivery = make_delivery(settings.email, database, links, clock)
        worker = QueueWorker(
            WorkSource(
                streams, clock, stream=EMAIL_STREAM, durable=EMAIL_DURABLE, subject=EMAIL_SUBJECT
            ),
            EmailWork(delivery),
            DeadLetters(streams),
            limits=Limits(parallel=PARALLEL, seconds_max=SECONDS_MAX, forget=True),
            state=state,
            clock=clock,
        )
        await worker.run(stop)
    finally:
        await database.close()


async def serve_email_worker(
    endpoints: Endpoints, settings: Settings, stop: asyncio.Event, clock: Clock | None = None
) -> None:
    """Run the e-mail worker until `stop`, with its health listener; READY when it works."""
    missing = missing_settings(settings.email)
    if missing:
        _LOG.warning("mail_of_organisations_only", missing=missing)
    elif settings.email.provider_secret_key is None:
        _LOG.warning("mail_of_organisations_off", missing="email.provider_secret_key")
    chosen = clock or SystemClock()
    streams = Streams(endpoints.nats, name="pug-worker-email")
    state = WorkerState(name=EMAIL_WORKER, stream=EMAIL_STREAM, consumer=EMAIL_DURABLE)
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
    _LOG.info("worker_stopped", worker=EMAIL_WORKER, mails=state.rows)


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
            _LOG.info("worker_ready", worker=EMAIL_WORKER, health_port=health.port)
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                await ended.wait()
        except TimeoutError:
            continue
