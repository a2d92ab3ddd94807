"""Jobs on real stores: a desk for each test, and mails that are only remembered.

Invariant: everything has a PostgreSQL schema and a ClickHouse database nobody else uses; time
stands still until the test moves it.
"""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec

from appliance.base.errors import UnavailableError
from appliance.base.ids import IdMaker
from appliance.base.units import Seconds
from appliance.config.endpoints import Endpoints, resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.mail.letters import Letter
from appliance.services.jobs.desk import Desk, Mailer, Meter, Reminder
from appliance.services.jobs.leadership import Leadership, LeaseTiming
from appliance.services.stores import Stores
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.inserts import INSERT_SETTINGS
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres
from appliance.storage.postgres.pool import Postgres
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.publish import Publisher
from tests.support.clocks import FixedClock
from tests.support.control import own_schema
from tests.support.pipeline import encode


class RecordingMailer:
    """Remembers mails; addresses in `broken` cannot be reached."""

    def __init__(self, *, ready: bool = True) -> None:
        self.ready = ready
        self.sent: list[tuple[str, Letter, str]] = []
        self.broken: set[str] = set()

    async def is_ready(self) -> bool:
        return self.ready

    async def send(self, address: str, letter: Letter, *, dispatch_id: str) -> None:
        if address in self.broken:
            raise UnavailableError("MAIL_UNSENT", "the provider does not answer")
        self.sent.append((address, letter, dispatch_id))


class JobStage:
    """Stores, a clock, and as many desks as a test wants."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self.clock = FixedClock()
        self.ids = IdMaker(self.clock)
        self.mailer = RecordingMailer()
        self.rests = 0
        self.reminders: list[Reminder] = []
        self.streams = Streams(endpoints.nats, name="pug-test-jobs")
        self.database = Postgres(endpoints.postgres)
        self.events = ClickHouse(endpoints.clickhouse)
        self.stores = Stores(
            postgres=self.database,
            clickhouse=self.events,
            streams=self.streams,
            publisher=Publisher(self.streams),
        )

    def lead(self, holder: str = "a", *, lease_seconds: float = 20.0) -> Leadership:
        timing = LeaseTiming(lease_seconds=lease_seconds)
        return Leadership(self.database, self.clock, holder=holder, timing=timing)

    async def leading(self, holder: str = "a") -> Leadership:
        lead = self.lead(holder)
        assert await lead.take()
        return lead

    def desk(
        self, lead: Leadership, *, mailer: Mailer | None = None, meter: Meter | None = None
    ) -> Desk:
        return Desk(
            lead=lead,
            stores=self.stores,
            clock=self.clock,
            ids=self.ids,
            mailer=mailer or self.mailer,
            quiet=self.quiet,
            look_around=self.look_around,
            meter=meter,
            audit_seconds=400 * 86400.0,
            dashboard_url="http://pug.test",
        )

    @asynccontextmanager
    async def quiet(self) -> AsyncGenerator[None]:
        """Nobody inserts in these tests but the tests."""
        self.rests += 1
        yield

    async def look_around(self) -> Sequence[Reminder]:
        return self.reminders

    async def make_org(self) -> str:
        org_id = self.ids.make()
        await self.database.execute(
            "INSERT INTO orgs (id, display_name) VALUES ($1, 'Kennel')", org_id
        )
        return org_id

    async def make_project(
        self,
        org_id: str,
        name: str = "Shop",
        *,
        timezone: str = "",
        days: int | None = None,
        deleted_at: datetime | None = None,
    ) -> str:
        project_id = self.ids.make()
        await self.database.execute(
            "INSERT INTO projects (id, org_id, display_name, reporting_timezone, retention_days,"
            " delete_time) VALUES ($1, $2, $3, $4, $5, $6)",
            *(project_id, org_id, name, timezone, days, deleted_at),
        )
        return project_id

    async def make_member(
        self, org_id: str, email: str | None = None, role: str = "ORG_ROLE_ADMIN"
    ) -> str:
        customer_id = self.ids.make()
        address = email or f"{customer_id}@pug.test"
        await self.database.execute(
            "INSERT INTO customers (id, email) VALUES ($1, $2)", customer_id, address
        )
        await self.database.execute(
            "INSERT INTO org_members (org_id, customer_id, role) VALUES ($1, $2, $3)",
            *(org_id, customer_id, role),
        )
        return customer_id

    async def insert(self, rows: list[dict[str, object]]) -> None:
        await self.events.insert_ndjson("events", [encode(rows)], INSERT_SETTINGS)

    async def count(self, table: str) -> int:
        row = await self.database.row(f"SELECT count(*) AS n FROM {table}")  # pyright: ignore[reportArgumentType] names of this test
        assert row is not None
        return msgspec.convert(row["n"], int)


@asynccontextmanager
async def job_stage(engines: Settings, *, events: bool = True) -> AsyncGenerator[JobStage]:
    """A stage on stores of its own in running engines; without `events` only PostgreSQL."""
    async with own_schema(resolve_endpoints(engines)) as found:
        database = f"t{uuid.uuid4().hex[:12]}"
        endpoints = msgspec.structs.replace(
            found, clickhouse=msgspec.structs.replace(found.clickhouse, database=database)
        )
        await migrate_postgres(endpoints.postgres, lambda _name: None)
        if events:
            await migrate_clickhouse(endpoints.clickhouse, lambda _name: None)
            await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)
        stage = JobStage(endpoints)
        try:
            yield stage
        finally:
            if events:
                await stage.events.command("DROP DATABASE {name:Identifier}", {"name": database})
            await stage.events.close()
            await stage.streams.close()
            await stage.database.close()
