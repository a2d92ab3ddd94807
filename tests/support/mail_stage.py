"""The e-mail worker on a stage of its own: real queue and database, a mail server of the test.

Invariant: the stage begins with an empty mail queue and no dead letters of mail; the worker ends
with its block.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
from nats.js.errors import NotFoundError

from appliance.base.clock import SystemClock
from appliance.base.tasks import poll
from appliance.base.units import Seconds
from appliance.config.endpoints import Endpoints
from appliance.config.model import Settings
from appliance.config.people import EmailSettings, SmtpSecurity, SmtpSettings
from appliance.services.mail.jobs import MailQueue
from appliance.storage.migrate import migrate_nats
from appliance.storage.postgres.pool import Postgres
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.deadletters import DeadLetters, DeadLetterSummary
from appliance.storage.streams.mail import EMAIL_DURABLE, EMAIL_STREAM, EMAIL_SUBJECT
from appliance.storage.streams.publish import Publisher
from appliance.workers.email import serve_email
from appliance.workers.state import WorkerState
from tests.support.smtp_server import SmtpServerProcess

WAIT_SECONDS = 90.0
BASE_URL = "https://pug.test"


def relay_settings(server: SmtpServerProcess) -> EmailSettings:
    """The operator's mail through a server of the test, in clear."""
    return EmailSettings(
        sender="Pug <pug@example.com>",
        dashboard_base_url=BASE_URL,
        smtp=SmtpSettings(host=server.host, port=server.port, security=SmtpSecurity.NONE),
    )


class MailStage:
    """A queue, a database, and what can be seen of them."""

    def __init__(self, endpoints: Endpoints, streams: Streams) -> None:
        self.endpoints = endpoints
        self.streams = streams
        self.database = Postgres(endpoints.postgres)
        self.dead_letters = DeadLetters(streams)
        self.state = WorkerState(name="email", stream=EMAIL_STREAM, consumer=EMAIL_DURABLE)

    def queue(self, email: EmailSettings) -> MailQueue:
        """What services hand mails to."""
        return MailQueue(Publisher(self.streams), email)

    async def publish(self, payload: bytes) -> None:
        """Put anything on the mail queue."""
        await Publisher(self.streams).publish(EMAIL_SUBJECT, payload, message_id=None, headers={})

    @asynccontextmanager
    async def worker(self, email: EmailSettings) -> AsyncGenerator[WorkerState]:
        """The worker for the length of a block."""
        stop = asyncio.Event()
        settings = msgspec.structs.replace(Settings(), email=email)
        async with asyncio.TaskGroup() as group:
            group.create_task(
                serve_email(self.database, settings, self.streams, self.state, stop, SystemClock())
            )
            try:
                yield self.state
            finally:
                stop.set()

    async def waiting(self) -> int:
        """How many mail jobs lie on the stream, settled or not."""
        jetstream = await self.streams.jetstream()
        told = await jetstream.stream_info(EMAIL_STREAM, subjects_filter=EMAIL_SUBJECT)
        return sum((told.state.subjects or {}).values())

    async def until_taken(self) -> None:
        """Wait until a worker has taken a job that it has not settled."""

        async def taken() -> bool | None:
            jetstream = await self.streams.jetstream()
            told = await jetstream.consumer_info(EMAIL_STREAM, EMAIL_DURABLE)
            return bool(told.num_ack_pending) or None

        assert await poll(taken, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)

    async def until_empty(self) -> None:
        """Wait until no mail job lies on the stream."""

        async def empty() -> bool | None:
            return await self.waiting() == 0 or None

        assert await poll(empty, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)

    async def letters(self) -> list[DeadLetterSummary]:
        """The dead letters of mail."""
        return [one async for one in self.dead_letters.summaries(EMAIL_STREAM)]

    async def stored_bytes(self) -> bytes:
        """Everything that can be read from the streams of mail, headers included."""
        jetstream = await self.streams.jetstream()
        found = b""
        for stream in (EMAIL_STREAM, f"dlq-{EMAIL_STREAM}"):
            state = (await jetstream.stream_info(stream)).state
            for sequence in range(state.first_seq, state.last_seq + 1):
                try:
                    message = await jetstream.get_msg(stream, seq=sequence)
                except NotFoundError:
                    continue
                headers = cast("dict[str, str]", message.headers or {})
                found += (message.data or b"") + repr(headers).encode()
        return found


@asynccontextmanager
async def open_mail_stage(endpoints: Endpoints) -> AsyncGenerator[MailStage]:
    """A stage on running engines; the database is used as it is."""
    await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)
    streams = Streams(endpoints.nats, name="pug-test-mail")
    try:
        jetstream = await streams.jetstream()
        for stream in (EMAIL_STREAM, f"dlq-{EMAIL_STREAM}"):
            await jetstream.purge_stream(stream)
        stage = MailStage(endpoints, streams)
        try:
            yield stage
        finally:
            await stage.database.close()
    finally:
        await streams.close()
