"""Reading `GET /live` as a client does, and a project to watch.

Invariant: a reader collects frames in the background and keeps what it has read; whoever waits for
a frame gives a deadline.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import msgspec

from appliance.base.tasks import poll
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.access.roles import Role
from appliance.services.wiring import Services, build_services
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres
from appliance.storage.postgres.projects import KeyKind

WAIT_SECONDS: Final = 60.0
BATCH_CREATE: Final = "/sdk.events.v1.EventsService/BatchCreate"
Json = dict[str, Any]  # bodies as they are on the wire


class Watched(msgspec.Struct, frozen=True):
    """A project, its keys, and the id of the private one."""

    project: str
    org: str
    public: str
    private: str
    private_id: str


class Frame(msgspec.Struct, frozen=True):
    """One server-sent event."""

    kind: str
    body: Json


class Reader:
    """One open stream."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.comments: list[str] = []
        self.closed = asyncio.Event()
        self.broke: BaseException | None = None

    def of(self, kind: str) -> list[Json]:
        """Bodies of the frames of one kind, in order."""
        return [frame.body for frame in self.frames if frame.kind == kind]

    @property
    def ids(self) -> list[str]:
        """Ids of the events that were told."""
        return [body["eventId"] for body in self.of("event")]

    @property
    def dropped(self) -> int:
        """How many events the stream said it did not tell."""
        return sum(body["events"] for body in self.of("dropped"))

    async def until(self, what: str, true: Callable[[], bool]) -> None:
        """Wait until something holds of what was read."""

        async def holds() -> bool | None:
            return true() or None

        found = await poll(holds, every_seconds=0.01, timeout_seconds=WAIT_SECONDS)
        assert found, (
            f"{what}: not within {WAIT_SECONDS} s; {len(self.ids)} events, {self.dropped} dropped"
        )

    async def ended(self) -> str:
        """Wait for the end; the reason that was told."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.closed.wait()
        return str(self.of("end")[-1]["reason"]) if self.of("end") else ""

    async def read(self, answer: httpx.Response) -> None:
        kind = ""
        try:
            async for line in answer.aiter_lines():
                if line.startswith(":"):
                    self.comments.append(line[1:].strip())
                elif line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.frames.append(Frame(kind, json.loads(line.removeprefix("data: "))))
        except httpx.TransportError as error:
            self.broke = error
        finally:
            self.closed.set()


@asynccontextmanager
async def watching(
    client: httpx.AsyncClient, headers: Mapping[str, str], **query: str | list[str]
) -> AsyncGenerator[Reader]:
    """A stream that is open and listens."""
    reader = Reader()
    async with client.stream("GET", "/live", headers=headers, params=query) as answer:
        assert answer.status_code == 200, await answer.aread()
        reading = asyncio.ensure_future(reader.read(answer))
        try:
            await reader.until("the first word", lambda: bool(reader.comments))
            yield reader
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def event(kind: str = "page_view", **changes: object) -> Json:
    """A valid event of now."""
    now = datetime.now(tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "eventId": str(uuid.uuid4()),
        "kind": kind,
        "occurTime": now,
        "distinctId": "anon-1",
        "sessionId": str(uuid.uuid4()),
        "autoProperties": {"$url": {"stringValue": "https://shop.example/plants"}},
        "customProperties": {"price": {"doubleValue": 1.5}, "size": {"intValue": "7"}},
        **changes,
    }


async def post(client: httpx.AsyncClient, key: str, *events: Json) -> list[str]:
    """Send one batch; the ids in it."""
    answer = await client.post(
        BATCH_CREATE, headers={"x-api-key": key}, json={"events": list(events)}
    )
    assert answer.status_code == 200, answer.text
    return [one["eventId"] for one in events]


@asynccontextmanager
async def prepared(engines: Settings) -> AsyncGenerator[Services]:
    """Services on engines that have their schema."""
    endpoints = resolve_endpoints(engines)
    told: list[str] = []
    await migrate_postgres(endpoints.postgres, told.append)
    await migrate_clickhouse(endpoints.clickhouse, told.append)
    await migrate_nats(endpoints.nats, engines.nats.retention, told.append)
    services = build_services(engines, name="test-live")
    await services.open()
    try:
        yield services
    finally:
        await services.close()


async def make_watched(services: Services) -> Watched:
    """A project of its own organisation, with keys."""
    org = f"live{uuid.uuid4().hex[:16]}"
    await services.stores.postgres.execute(
        "INSERT INTO orgs (id, display_name) VALUES ($1, 'live')", org
    )
    project = await services.projects.create_project("live", org_id=org)
    private = await services.key_chain.create_key(project.id, KeyKind.PRIVATE)
    return Watched(
        project.id,
        org,
        project.public_key.key.reveal(),
        private.key.reveal(),
        private.id,
    )


async def join(services: Services, org_id: str, role: Role) -> tuple[str, str]:
    """A new member of an organisation: id and access token."""
    customer_id = f"live{uuid.uuid4().hex[:16]}"
    database = services.stores.postgres
    await database.execute(
        "INSERT INTO customers (id, email, email_verify_time) VALUES ($1, $2, now())",
        customer_id,
        f"{customer_id}@pug.test",
    )
    await database.execute(
        "INSERT INTO org_members (org_id, customer_id, role) VALUES ($1, $2, $3)",
        org_id,
        customer_id,
        role.stored,
    )
    return customer_id, services.control.tokens.issue(customer_id)
