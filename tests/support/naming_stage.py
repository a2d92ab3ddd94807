"""Persons and their names on a stage of their own: real stores, an empty queue, two projects.

Invariant: calls go through the service behind the door and the duties of the worker process;
what they did is read from the stores, never from the code under test.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
from nats.js.errors import NotFoundError

from appliance.base.clock import Clock, SystemClock
from appliance.base.errors import ApplianceError
from appliance.base.tasks import poll
from appliance.base.units import Seconds
from appliance.config.endpoints import Endpoints, resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.people.messages import Identification
from appliance.services.identify import IdentifyService
from appliance.services.stores import Stores
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.migrate import migrate_nats, migrate_postgres
from appliance.storage.postgres.pool import Postgres
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.people import (
    ALIAS_DURABLE,
    IDENTIFY_DURABLE,
    PROFILES_STREAM,
    UPSERT_DURABLE,
)
from appliance.storage.streams.publish import Publisher
from appliance.workers.duty import Duty
from appliance.workers.profiles import profile_duties
from tests.support.control import own_event_store, own_schema
from tests.support.queues import is_worked_off

WAIT_SECONDS = 120.0
EVERY_SECONDS = 0.02
MINE = "p1"
OTHERS = "p2"
Json = dict[str, Any]  # rows and bodies as they are

_STATES = """
SELECT id, argMax(external_id, version), argMax(properties, version), argMax(deleted, version)
FROM profiles WHERE project_id = {project:String} GROUP BY id
"""
_ALIASES = """
SELECT alias_id, argMax(profile_id, version)
FROM profile_aliases WHERE project_id = {project:String} GROUP BY alias_id
"""


class Owner(msgspec.Struct, frozen=True):
    """Who calls."""

    project_id: str = MINE


class NamingStage:
    """Stores, the door, and the duties."""

    def __init__(self, endpoints: Endpoints, stores: Stores, clock: Clock) -> None:
        self.endpoints = endpoints
        self.stores = stores
        self.clock = clock
        self.identify = IdentifyService(stores.publisher, clock)

    async def name(self, request: Mapping[str, Any], *, project: str = MINE) -> None:
        """One call of a client, in the words of the vectors."""
        await self.identify.accept(
            Owner(project),
            external_id=request["externalId"],
            traits=request.get("traits", {}),
            anonymous_id=request.get("anonymousId", ""),
            device_id=request.get("deviceId", ""),
        )

    async def publish(self, subject: str, payload: bytes) -> None:
        """Any message."""
        await self.stores.publisher.publish(subject, payload, message_id=None, headers={})

    async def hand_over(self, calls: Sequence[Identification]) -> None:
        """Calls of any time, in this order on the queue; each again until it is taken."""
        for call in calls:
            while True:
                try:
                    await self.identify.hand_over(call)
                except ApplianceError:
                    await asyncio.sleep(EVERY_SECONDS)
                else:
                    break

    @asynccontextmanager
    async def working(self, *names: str) -> AsyncGenerator[tuple[Duty, ...]]:
        """The duties of these names, or all of them, for the length of a block."""
        duties = tuple(
            duty
            for duty in profile_duties(self.stores, Settings(), self.clock)
            if not names or duty.name in names
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for duty in duties:
                group.create_task(_run(duty, stop))
            try:
                yield duties
            finally:
                stop.set()

    async def until_idle(self, *durables: str) -> None:
        """Wait until these consumers, or all of them, have nothing left to do."""
        order = durables or (IDENTIFY_DURABLE, UPSERT_DURABLE, ALIAS_DURABLE)

        async def idle() -> bool | None:
            try:
                jetstream = await self.stores.streams.jetstream()
                for durable in order:  # the first one publishes to the others before it ends
                    if not await is_worked_off(jetstream, PROFILES_STREAM, durable):
                        return None
            except Exception:  # noqa: BLE001 the server was killed and is on its way back
                return None
            return True

        assert await poll(idle, every_seconds=EVERY_SECONDS, timeout_seconds=WAIT_SECONDS)

    async def messages(self, subject: str = "") -> list[tuple[str, bytes]]:
        """Everything on the stream of people, oldest first."""
        jetstream = await self.stores.streams.jetstream()
        state = (await jetstream.stream_info(PROFILES_STREAM)).state
        found: list[tuple[str, bytes]] = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            try:
                message = await jetstream.get_msg(PROFILES_STREAM, seq=sequence)
            except NotFoundError:
                continue
            if not subject or message.subject == subject:
                found.append((str(message.subject), message.data or b""))
        return found

    async def profiles(self, project: str = MINE) -> list[Json]:
        """The write side, oldest first, deleted ones too."""
        rows = await self.stores.postgres.rows(
            "SELECT id, external_id, properties::text AS properties, version, update_time,"
            " delete_time IS NOT NULL AS deleted FROM profiles WHERE project_id = $1"
            " ORDER BY create_time, id",
            project,
        )
        return [{**row, "properties": json.loads(str(row["properties"]))} for row in rows]

    async def profile(self, external_id: str) -> Json | None:
        """The living profile of an external id."""
        living = (one for one in await self.profiles() if not one["deleted"])
        return next((one for one in living if one["external_id"] == external_id), None)

    async def devices(self) -> dict[str, str | None]:
        """Whose each device is."""
        rows = await self.stores.postgres.rows(
            "SELECT device_id, profile_id FROM profile_devices WHERE project_id = $1", MINE
        )
        return {str(row["device_id"]): cast("str | None", row["profile_id"]) for row in rows}

    async def add_profile(
        self,
        profile_id: str,
        external_id: str | None = None,
        properties: Mapping[str, object] | None = None,
        *,
        deleted: bool = False,
        project: str = MINE,
    ) -> None:
        """A profile that is there already."""
        await self.stores.postgres.execute(
            "INSERT INTO profiles (id, project_id, external_id, properties, delete_time)"
            " VALUES ($1, $2, $3, $4::jsonb, CASE WHEN $5 THEN now() END)",
            profile_id,
            project,
            external_id,
            json.dumps(properties or {}),
            deleted,
        )

    async def add_device(self, device_id: str, profile_id: str | None = None) -> None:
        """A device that is there already."""
        await self.stores.postgres.execute(
            "INSERT INTO profile_devices (project_id, device_id, platform, profile_id)"
            " VALUES ($1, $2, 'web', $3)",
            MINE,
            device_id,
            profile_id,
        )

    async def shown(self, project: str = MINE) -> dict[str, Json]:
        """The read side: what each id is now."""
        rows = await self.stores.clickhouse.rows(_STATES, {"project": project})
        return {
            str(profile_id): {
                "external_id": external_id,
                "properties": json.loads(str(properties)),
                "deleted": bool(deleted),
            }
            for profile_id, external_id, properties, deleted in rows
        }

    async def shown_count(self) -> int:
        """How many rows of profiles the read side has."""
        rows = await self.stores.clickhouse.rows("SELECT count() FROM profiles")
        return int(str(rows[0][0]))

    async def aliases(self, project: str = MINE) -> dict[str, str]:
        """The read side: whose each alias is now."""
        rows = await self.stores.clickhouse.rows(_ALIASES, {"project": project})
        return {str(alias): str(profile) for alias, profile in rows}


@asynccontextmanager
async def open_naming_stage(
    settings: Settings, clock: Clock | None = None
) -> AsyncGenerator[NamingStage]:
    """A stage on running engines that others use too."""
    async with (
        own_schema(resolve_endpoints(settings)) as relational,
        own_event_store(relational, wanted=True) as endpoints,
        naming_stage_at(endpoints, clock) as stage,
    ):
        yield stage


@asynccontextmanager
async def naming_stage_at(
    endpoints: Endpoints, clock: Clock | None = None
) -> AsyncGenerator[NamingStage]:
    """A stage on the stores of these endpoints, which have their event store's tables."""
    await migrate_postgres(endpoints.postgres, lambda _name: None)
    await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)
    streams = Streams(endpoints.nats, name="pug-test-people")
    stores = Stores(
        postgres=Postgres(endpoints.postgres),
        clickhouse=ClickHouse(endpoints.clickhouse),
        streams=streams,
        publisher=Publisher(streams),
    )
    try:
        jetstream = await streams.jetstream()
        for name in (PROFILES_STREAM, f"dlq-{PROFILES_STREAM}"):
            await jetstream.purge_stream(name)
        await stores.postgres.execute("INSERT INTO orgs (id, display_name) VALUES ('o', 'Org')")
        for project in (MINE, OTHERS):
            await stores.postgres.execute(
                "INSERT INTO projects (id, org_id, display_name, reporting_timezone)"
                " VALUES ($1, 'o', $2, '')",
                project,
                f"{project} {uuid.uuid4()}",
            )
        yield NamingStage(endpoints, stores, clock or SystemClock())
    finally:
        await stores.clickhouse.close()
        await streams.close()
        await stores.postgres.close()


async def _run(duty: Duty, stop: asyncio.Event) -> None:
    await duty.run(stop)
