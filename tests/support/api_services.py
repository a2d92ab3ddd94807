"""Services that live in memory: the seam of the API's tests.

Invariant: they decide nothing about protocols; what a test wants to happen is set as an attribute
before the request, or chosen by a word in the event kind where the server is another process.
Run as a program, this module serves them under the real server and tells its port in a READY line.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from protobuf import Oneof

from appliance.api.server import run
from appliance.base.clock import SystemClock
from appliance.base.errors import ApplianceError, UnavailableError
from appliance.base.ids import IdMaker
from appliance.base.log import configure_logging
from appliance.base.ready import (
    LISTEN_DESCRIPTOR_VARIABLE,
    READY_DESCRIPTOR_VARIABLE,
    parse_ready,
)
from appliance.config.endpoints import ClickHouseEndpoint, NatsEndpoint, PostgresEndpoint
from appliance.config.model import ApiSettings, Settings, TlsSettings, TlsVersion
from appliance.config.secrets import Secret
from appliance.domain.figures import Family
from appliance.domain.ingest.event import Batch
from appliance.domain.ingest.facts import RequestFacts
from appliance.domain.ingest.validate import check_batch
from appliance.domain.people.messages import Identification
from appliance.domain.people.traits import Properties
from appliance.gen.shared.insights.v1.insights_pb import (
    DataPoint,
    QueryRequest,
    QueryResponse,
    SegmentUsersRequest,
    SegmentUsersResponse,
    TrendSeries,
    TrendsResult,
)
from appliance.services.activity import ActivityService
from appliance.services.alerts.desk import make_alerts
from appliance.services.annotations import AnnotationsService
from appliance.services.cohorts import CohortsService
from appliance.services.compat import CompatService
from appliance.services.control import ControlPlane
from appliance.services.dashboards.desk import DashboardDesk
from appliance.services.discovery import DiscoveryService
from appliance.services.insights import InsightsService
from appliance.services.live import LiveService
from appliance.services.people import PeopleService
from appliance.services.query_desk import QueryDesk
from appliance.services.room import DiskState
from appliance.services.stores import Stores
from appliance.services.tokens import ephemeral_key
from appliance.services.wiring import build_services
from appliance.storage.clickhouse.activity_read import ActivityReader
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.discovery import DiscoveryReader
from appliance.storage.clickhouse.insights.members import ClickHouseMembers
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from appliance.storage.clickhouse.live_read import LiveReader
from appliance.storage.clickhouse.people_read import PeopleReader
from appliance.storage.postgres.pool import Postgres
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.publish import Publisher
from tests.support.engines import engine_settings
from tests.support.figures import stage_families

PUBLIC_KEY = "pub_" + "a" * 20
PRIVATE_KEY = "prv_" + "b" * 20
KEY_OF_BROKEN_LOOK_UP = "pub_" + "c" * 20
SLOW_SECONDS = 1.5
FOREVER_SECONDS = 600.0
STOP_SECONDS_MAX = 60


class MemoryPrincipal(msgspec.Struct, frozen=True, kw_only=True):
    project_id: str = "project1"
    timezone: str = "UTC"


class MemoryReceipt(msgspec.Struct, frozen=True, kw_only=True):
    accepted: int
    dropped: int = 0
    dropped_by_reason: dict[str, int] = {}


class MemoryKeys:
    async def resolve(self, token: str) -> MemoryPrincipal | None:
        if token == KEY_OF_BROKEN_LOOK_UP:
            raise UnavailableError("UNAVAILABLE", "the accounts cannot be reached")
        return MemoryPrincipal() if token in {PUBLIC_KEY, PRIVATE_KEY} else None


class MemoryIngest:
    """Checks batches as the real one does and keeps them."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.facts: list[RequestFacts] = []
        self.failure: Exception | None = None
        self.refusal: ApplianceError | None = None
        self.dropped: dict[str, int] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.check = True
        self.keep = True

    def admit(self, _principal: object) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def accept(self, _principal: object, batch: Batch, facts: RequestFacts) -> MemoryReceipt:
        if self.failure is not None:
            raise self.failure
        if self.check:
            check_batch(batch)
        if batch.events and batch.events[0].kind == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        self.counts["events.accepted_total", ""] += len(batch.events)
        if self.keep:
            self.batches.append(batch)
            self.facts.append(facts)
        dropped = sum(self.dropped.values())
        return MemoryReceipt(
            accepted=len(batch.events) - dropped, dropped=dropped, dropped_by_reason=self.dropped
        )


class MemoryIdentify:
    """Keeps who was named."""

    def __init__(self) -> None:
        self.calls: list[dict[str, object]] = []
        self.handed_over: list[Identification] = []
        self.failure: Exception | None = None
        self.counts: Counter[tuple[str, str]] = Counter()

    async def accept(
        self,
        _principal: object,
        *,
        external_id: str,
        traits: Properties,
        anonymous_id: str = "",
        device_id: str = "",
    ) -> None:
        if self.failure is not None:
            raise self.failure
        self.calls.append(
            {
                "external_id": external_id,
                "traits": traits,
                "anonymous_id": anonymous_id,
                "device_id": device_id,
            }
        )

    async def hand_over(self, call: Identification) -> None:
        if self.failure is not None:
            raise self.failure
        self.handed_over.append(call)


class MemoryInsights:
    """Answers every question with one series."""

    def __init__(self) -> None:
        self.requests: list[QueryRequest] = []
        self.failure: ApplianceError | None = None
        self.seconds = 0.0
        self.counts: Counter[tuple[str, str]] = Counter()

    async def query(self, _principal: object, request: QueryRequest) -> QueryResponse:
        if self.failure is not None:
            raise self.failure
        await asyncio.sleep(self.seconds)
        self.requests.append(request)
        series = TrendSeries(event_kind="page_view", points=[DataPoint(value=0.0)])
        return QueryResponse(result=Oneof("trends", TrendsResult(series=[series])))

    async def people_behind(
        self, _principal: object, request: SegmentUsersRequest
    ) -> SegmentUsersResponse:
        return SegmentUsersResponse(distinct_ids=["d1"][: request.page_size])


_NOWHERE = ClickHouseEndpoint(
    host="127.0.0.1",
    port=1,
    user="none",
    password=None,
    database="none",
    secure=False,
    external=True,
)


def unreachable_stores() -> Stores:
    """Stores that are nowhere: whoever asks is told `unavailable`."""
    nowhere = Secret("postgresql://nobody@127.0.0.1:1/none")
    postgres = PostgresEndpoint(url=nowhere, pool_size_max=1, external=True)
    streams = Streams(NatsEndpoint(url=Secret("nats://127.0.0.1:1"), external=True), name="none")
    return Stores(
        postgres=Postgres(postgres),
        clickhouse=ClickHouse(_NOWHERE),
        streams=streams,
        publisher=Publisher(streams),
    )


def unreachable_control(stores: Stores) -> ControlPlane:
    """A control plane on such stores."""
    clock = SystemClock()
    return ControlPlane(stores, Settings(), ephemeral_key(), clock=clock, ids=IdMaker(clock))


class MemoryServices:
    """Everything the faces use, in memory."""

    def __init__(self) -> None:
        self.keys = MemoryKeys()
        self.ingest = MemoryIngest()
        self.identify = MemoryIdentify()
        self.compat = CompatService(self.ingest, self.identify, SystemClock())
        self.insights = MemoryInsights()
        stores = unreachable_stores()
        self.control = unreachable_control(stores)
        self.dashboards = DashboardDesk(
            stores.postgres,
            self.insights,
            self.control.audit,
            clock=SystemClock(),
            ids=IdMaker(),
        )
        self.cohorts = CohortsService(
            stores.postgres,
            ClickHouseMembers(ClickHouse(_NOWHERE)),
            self.control.audit,
            clock=SystemClock(),
            ids=IdMaker(),
        )
        self.annotations = AnnotationsService(stores.postgres, self.control.audit, ids=IdMaker())
        self.alerts = make_alerts(
            stores.postgres,
            self.insights,
            self.control.audit,
            Settings(),
            clock=SystemClock(),
            ids=IdMaker(),
        )
        unasked = InsightsService(ClickHouseInsights(ClickHouse(_NOWHERE)), SystemClock())
        self.queries = QueryDesk(stores, _NOWHERE, self.control.audit, unasked)
        people = PeopleReader(ClickHouse(_NOWHERE))
        self.people = PeopleService(people)
        events = ActivityReader(ClickHouse(_NOWHERE))
        self.activity = ActivityService(events, people, SystemClock())
        self.discovery = DiscoveryService(DiscoveryReader(ClickHouse(_NOWHERE)), SystemClock())
        self.live = LiveService(stores.streams, LiveReader(ClickHouse(_NOWHERE)), SystemClock())
        self.told: tuple[Family, ...] = stage_families()
        self.states: Mapping[str, bool] = dict.fromkeys(
            ("postgres_writer", "postgres_reader", "clickhouse", "nats"), True
        )
        self.opened = False
        self.broken = False
        self.closed = False

    async def figures(self) -> tuple[Family, ...]:
        return self.told

    def disk(self) -> DiskState:
        return DiskState(free_bytes=1 << 30, reserve_bytes=1 << 29, refused=0)

    async def open(self) -> None:
        if self.broken:
            raise RuntimeError("cannot open")
        self.opened = True

    async def close(self) -> None:
        self.closed = True

    async def readiness(self) -> Mapping[str, bool]:
        return self.states


@contextmanager
def api_process(
    *flags: str, listener: socket.socket | None = None
) -> Generator[tuple[int, subprocess.Popen[bytes]]]:
    """This program under the real server: its port and its process, ended with the block.

    `listener` is handed over as an inherited socket, as the supervisor does.
    """
    reading, writing = os.pipe()
    inherited = [writing] if listener is None else [writing, listener.fileno()]
    environment = {**os.environ, READY_DESCRIPTOR_VARIABLE: str(writing)}
    if listener is not None:
        environment[LISTEN_DESCRIPTOR_VARIABLE] = str(listener.fileno())
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.api_services", *flags],
        pass_fds=inherited,
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            ready = parse_ready(pipe.readline())
        assert ready is not None, "the server did not become ready"
        assert ready.port is not None
        yield ready.port, process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        finally:
            process.kill()


def main(arguments: list[str]) -> None:
    """Serve until told to stop.

    `--unchecked` skips the rules, to measure the face alone; `--broken` fails to open;
    `--slow-insights` answers no insight in time;
    `--grpc PORT` opens the port of native gRPC; `--tls PEM VERSION` speaks HTTPS; `--stores FOLDER`
    puts the real services of the installation in FOLDER behind the faces.
    """
    configure_logging(component="api", readable=False)
    if "--stores" in arguments:
        settings = engine_settings(Path(arguments[arguments.index("--stores") + 1]))
        run(settings, build_services(settings))
    services = MemoryServices()
    services.broken = "--broken" in arguments
    services.ingest.keep = False
    services.ingest.check = "--unchecked" not in arguments
    if "--slow-insights" in arguments:
        services.insights.seconds = FOREVER_SECONDS
    grpc_port = None
    if "--grpc" in arguments:
        grpc_port = int(arguments[arguments.index("--grpc") + 1])
    tls = TlsSettings()
    if "--tls" in arguments:
        path, version = arguments[arguments.index("--tls") + 1 :][:2]
        tls = TlsSettings(certificate=Path(path), version_min=TlsVersion(version))
    api = ApiSettings(host="127.0.0.1", port=0, grpc_port=grpc_port)
    run(Settings(api=api, tls=tls), services)


if __name__ == "__main__":
    main(sys.argv[1:])
