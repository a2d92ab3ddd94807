"""Runs the events worker as a process: opens what it needs, drains on a signal.

Invariant: READY is announced only when the worker consumes; everything opened here is closed here,
in reverse order, whatever happened. Signals set an event; the worker acts on it between blocks.
"""

import asyncio
from typing import Final

import structlog

from appliance.base.clock import Clock, SystemClock
from appliance.base.ids import random_token
from appliance.config.endpoints import Endpoints, resolve_endpoints
from appliance.config.model import Settings, WorkerSettings
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.inserts import EventInserts
from appliance.storage.streams.block_ledger import BlockLedger
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.consume import LogReader
from appliance.storage.streams.deadletters import DeadLetters
from appliance.storage.streams.publish import EVENTS_DURABLE, EVENTS_STREAM, Publisher
from appliance.workers.events import WORKER_NAME, EventsWriter, Limits
from appliance.workers.figures import tell_figures
from appliance.workers.health import HealthListener
from appliance.workers.process import stop_on_signals, watch
from appliance.workers.state import WorkerState

_LOG: Final = structlog.stdlib.get_logger()


async def run_events_worker(settings: Settings) -> None:
    """Run the events worker until SIGTERM or SIGINT; the process's whole life."""
    await serve_events_worker(
        resolve_endpoints(settings),
        settings.worker,
        stop_on_signals(),
        queue_bytes_max=settings.nats.events_bytes_max,
    )


async def serve_events_worker(
    endpoints: Endpoints,
    settings: WorkerSettings,
    stop: asyncio.Event,
    clock: Clock | None = None,
    *,
    queue_bytes_max: int | None = None,
) -> None:
    """Run the events worker until `stop`."""
    chosen = clock or SystemClock()
    streams = Streams(endpoints.nats, name="pug-worker-events")
    store = ClickHouse(endpoints.clickhouse)
    state = WorkerState(name=WORKER_NAME, stream=EVENTS_STREAM, consumer=EVENTS_DURABLE)
    owner = random_token(8)
    writer = EventsWriter(
        reader=LogReader(streams, chosen, stream=EVENTS_STREAM, durable=EVENTS_DURABLE),
        ledger=BlockLedger(streams, owner=owner, stream=EVENTS_STREAM),
        inserts=EventInserts(store),
        dead_letters=DeadLetters(streams),
        clock=chosen,
        limits=Limits(
            rows_max=settings.insert_rows_max,
            wait=settings.insert_wait,
            queue_bytes_max=queue_bytes_max,
        ),
        state=state,
        owner=owner,
    )
    try:
        async with (
            HealthListener(settings.health_addr, (state,)) as health,
            asyncio.TaskGroup() as group,
        ):
            ended = asyncio.Event()
            group.create_task(watch((state,), health, ended, connected=lambda: streams.connected))
            group.create_task(
                tell_figures(Publisher(streams).announce, WORKER_NAME, (state,), ended)
            )
            try:
                await writer.run(stop)
            except Exception as error:
                state.broken = type(error).__name__
                raise
            finally:
                ended.set()
    finally:
        await store.close()
        await streams.close()
    _LOG.info("worker_stopped", worker=WORKER_NAME, blocks=state.blocks, rows=state.rows)
