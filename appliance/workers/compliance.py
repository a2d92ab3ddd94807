"""The compliance worker: carries out erasures that were asked for [workers 2, profiles 9].

Invariant: a request ends as completed or failed in the ledger before its message is settled for
good; a settled message leaves the stream, because it names a person. What the stores lost by going
back in time is asked for again from the journal when the worker starts (decision 0024).
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.base.tasks import wait
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.gen.workers.compliance.v1.compliance_pb import EraseMessage
from appliance.services.erasing import Eraser
from appliance.services.erasure_journal import ErasureJournal
from appliance.services.schema_rules import read_message
from appliance.services.stores import Stores
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.erasure import STATEMENT_SECONDS_MAX
from appliance.storage.streams.deadletters import DeadLetters
from appliance.storage.streams.erasure import COMPLIANCE_STREAM, ERASE_DURABLE, ERASE_SUBJECT
from appliance.storage.streams.work import WorkSource
from appliance.workers.duty import Duty
from appliance.workers.queue import Limits, QueueWorker
from appliance.workers.state import WorkerState

COMPLIANCE_WORKER: Final = "compliance"
PARALLEL: Final = 2
SECONDS_MAX: Final = 290.0
"""A little less than the consumer's five minutes, so that no second one starts beside."""
ANSWER_SECONDS_MAX: Final = STATEMENT_SECONDS_MAX + 30
JOURNAL_EVERY_SECONDS: Final = 5.0

_LOG: Final = structlog.stdlib.get_logger()


class ComplianceWork:
    """What a message of an erasure asks for."""

    def __init__(self, eraser: Eraser) -> None:
        self._eraser = eraser

    @property
    def name(self) -> str:
        return COMPLIANCE_WORKER

    async def handle(self, payload: bytes, /) -> None:
        """Carry out the request."""
        await self._eraser.erase(read_message(EraseMessage, payload).request_id)

    async def give_up(self, payload: bytes, cause: str, /) -> None:
        """Let the ledger say that the request failed, before its message is a dead letter."""
        try:
            request_id = read_message(EraseMessage, payload).request_id
        except InvalidInputError:
            return
        await self._eraser.give_up(request_id, cause)

    def labels(self, payload: bytes, /) -> Mapping[str, str]:
        """Which request it was, as far as that can be read."""
        try:
            message = read_message(EraseMessage, payload)
        except InvalidInputError:
            return {}
        return {"request_id": message.request_id, "project_id": message.project_id}

    def kept(self, payload: bytes, /) -> bytes:
        """As it came: it can be replayed."""
        return payload


def compliance_duty(stores: Stores, settings: Settings, clock: Clock) -> Duty:
    """Erase persons."""
    state = WorkerState(name=COMPLIANCE_WORKER, stream=COMPLIANCE_STREAM, consumer=ERASE_DURABLE)

    async def run(stop: asyncio.Event) -> None:
        events = ClickHouse(
            resolve_endpoints(settings).clickhouse, answer_seconds_max=ANSWER_SECONDS_MAX
        )
        try:
            eraser = Eraser(stores, events, ErasureJournal(settings.folders.erasures), clock)
            await serve_compliance(stores, eraser, state, stop, clock)
        finally:
            await events.close()

    return Duty(state=state, run=run)


async def serve_compliance(
    stores: Stores, eraser: Eraser, state: WorkerState, stop: asyncio.Event, clock: Clock
) -> None:
    """Carry out erasures until `stop`; first what the journal knows and the ledger lost."""
    worker = QueueWorker(
        WorkSource(
            stores.streams,
            clock,
            stream=COMPLIANCE_STREAM,
            durable=ERASE_DURABLE,
            subject=ERASE_SUBJECT,
        ),
        ComplianceWork(eraser),
        DeadLetters(stores.streams),
        limits=Limits(parallel=PARALLEL, seconds_max=SECONDS_MAX, forget=True),
        state=state,
        clock=clock,
    )
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_resume(eraser, stop, ended))
        try:
            await worker.run(stop)
        finally:
            ended.set()


async def _resume(eraser: Eraser, stop: asyncio.Event, ended: asyncio.Event) -> None:
    """Ask again for what the journal knows, as soon as the stores answer."""
    while not stop.is_set() and not ended.is_set():
        try:
            count = await eraser.resume_from_journal()
        except ApplianceError as error:
            _LOG.debug("journal_waits", reason=error.reason)
            await wait(stop, JOURNAL_EVERY_SECONDS)
            continue
        if count:
            _LOG.warning("erasures_resumed_from_journal", requests=count)
        return
