"""Services that live in memory: the seam of the API's tests.

Invariant: they decide nothing about protocols; what a test wants to happen is set as an attribute
before the request, or chosen by a word in the event kind where the server is another process.
Run as a program, this module serves them under the real server and tells its port in a READY line.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping

import msgspec
from protobuf import Oneof

from appliance.api.server import run
from appliance.base.errors import ApplianceError, UnavailableError
from appliance.base.log import configure_logging
from appliance.config.model import ApiSettings, Settings
from appliance.domain.ingest.event import Batch
from appliance.domain.ingest.facts import RequestFacts
from appliance.domain.ingest.validate import check_batch
from appliance.gen.shared.insights.v1.insights_pb import (
    DataPoint,
    QueryRequest,
    QueryResponse,
    TrendSeries,
    TrendsResult,
)

PUBLIC_KEY = "pub_" + "a" * 20
PRIVATE_KEY = "prv_" + "b" * 20
KEY_OF_BROKEN_LOOK_UP = "pub_" + "c" * 20
SLOW_SECONDS = 30.0


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
        self.dropped: dict[str, int] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.check = True
        self.keep = True

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


class MemoryInsights:
    """Answers every question with one series."""

    def __init__(self) -> None:
        self.requests: list[QueryRequest] = []
        self.failure: ApplianceError | None = None
        self.seconds = 0.0

    async def query(self, _principal: object, request: QueryRequest) -> QueryResponse:
        if self.failure is not None:
            raise self.failure
        await asyncio.sleep(self.seconds)
        self.requests.append(request)
        series = TrendSeries(event_kind="page_view", points=[DataPoint(value=0.0)])
        return QueryResponse(result=Oneof("trends", TrendsResult(series=[series])))


class MemoryServices:
    """Everything the faces use, in memory."""

    def __init__(self) -> None:
        self.keys = MemoryKeys()
        self.ingest = MemoryIngest()
        self.insights = MemoryInsights()
        self.states: Mapping[str, bool] = dict.fromkeys(
            ("postgres_writer", "postgres_reader", "clickhouse", "nats"), True
        )
        self.opened = False
        self.closed = False

    async def open(self) -> None:
        self.opened = True

    async def close(self) -> None:
        self.closed = True

    async def readiness(self) -> Mapping[str, bool]:
        return self.states


def main(arguments: list[str]) -> None:
    """Serve until told to stop; `--unchecked` skips the rules, to measure the face alone."""
    configure_logging(component="api", readable=False)
    services = MemoryServices()
    services.ingest.keep = False
    services.ingest.check = "--unchecked" not in arguments
    settings = Settings(api=ApiSettings(host="127.0.0.1", port=0))
    run(settings, services)


if __name__ == "__main__":
    main(sys.argv[1:])
