"""The e-mail worker: jobs of the queue become mails in a provider's hands [workers 4].

Invariant: a settled job is removed from the stream, and its token stands in no dead letter and no
log (decision 0020). What failed and how often it is tried is the frame's business, see `queue.py`.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from protobuf import Oneof

from appliance.base.clock import Clock
from appliance.base.errors import InvalidInputError
from appliance.config.model import Settings
from appliance.gen.workers.email.v1.email_pb import OrgMemberInvitePayload
from appliance.services.links import DashboardLinks, dashboard_base_url
from appliance.services.mail.delivery import MailDelivery, parse_job, without_token
from appliance.services.mail.desk import make_delivery
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
from appliance.workers.queue import Limits, QueueWorker
from appliance.workers.state import WorkerState

PARALLEL: Final = 4
SECONDS_MAX: Final = 30.0

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
    database: Postgres,
    settings: Settings,
    streams: Streams,
    state: WorkerState,
    stop: asyncio.Event,
    clock: Clock,
) -> None:
    """Handle mail jobs until `stop`.

    Raises MisconfiguredError for a file of authorities that cannot be used.
    """
    links = DashboardLinks(dashboard_base_url(settings))
    worker = QueueWorker(
        WorkSource(
            streams, clock, stream=EMAIL_STREAM, durable=EMAIL_DURABLE, subject=EMAIL_SUBJECT
        ),
        EmailWork(make_delivery(settings.email, database, links, clock)),
        DeadLetters(streams),
        limits=Limits(parallel=PARALLEL, seconds_max=SECONDS_MAX, forget=True),
        state=state,
        clock=clock,
    )
    await worker.run(stop)
