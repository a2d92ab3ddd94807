"""Settings to opened services, and the order in which they are closed.

Invariant: building touches no network and never fails because a store is down: connections are made
when first needed and come back by themselves. Everything a face needs is reachable from `Services`;
closing goes in reverse order of use.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Final

import structlog

from appliance.base.clock import Clock, SystemClock
from appliance.base.errors import ApplianceError
from appliance.base.ids import IdMaker, SystemRandomness
from appliance.config.endpoints import Endpoints, resolve_endpoints
from appliance.config.insights import UserFlowForm
from appliance.config.model import Settings
from appliance.config.secrets import Secret, SecretName, load_secret
from appliance.domain.figures import Family
from appliance.services.activity import ActivityService
from appliance.services.alerts.desk import make_alerts
from appliance.services.allowances import Allowances
from appliance.services.annotations import AnnotationsService
from appliance.services.cohort_lookup import CohortLookup
from appliance.services.cohorts import CohortsService
from appliance.services.compat import CompatService
from appliance.services.control import ControlPlane
from appliance.services.cookieless import CookielessIdentities
from appliance.services.dashboards.desk import DashboardDesk
from appliance.services.deadletters import DeadLettersService
from appliance.services.discovery import DiscoveryService
from appliance.services.geo import GeoService
from appliance.services.identify import IdentifyService
from appliance.services.ingest import IngestService
from appliance.services.insights import InsightsService
from appliance.services.jobs.requests import JobsService
from appliance.services.kept_answers import KeptAnswers
from appliance.services.keys import KeyRing
from appliance.services.limits import LimitsService
from appliance.services.live import REQUESTS_SHARE, LiveService
from appliance.services.people import PeopleService
from appliance.services.places import Places
from appliance.services.query_desk import QueryDesk
from appliance.services.question_slots import QUIET_SHARES, QuestionSlots, plan_shares
from appliance.services.queue_room import QueueRoom
from appliance.services.room import DiskState, Room, make_room
from appliance.services.stages import Stages
from appliance.services.stores import Stores
from appliance.services.subscriptions import SubscriptionsService
from appliance.services.tokens import ephemeral_key
from appliance.storage.clickhouse.activity_read import ActivityReader
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.discovery import DiscoveryReader
from appliance.storage.clickhouse.insights.members import ClickHouseMembers
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from appliance.storage.clickhouse.live_read import LiveReader
from appliance.storage.clickhouse.people_read import PeopleReader
from appliance.storage.postgres.pool import Postgres
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.deadletters import DeadLetters
from appliance.storage.streams.kv import COOKIELESS_BUCKET, Bucket
from appliance.storage.streams.publish import Publisher

READINESS_SECONDS_MAX: Final = 2.0
"""One deadline for all stores together [services 2.6]."""

_LOG: Final = structlog.stdlib.get_logger()


class Services:
    """Every use-case of the product, on one set of connections."""

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        name: str,
        clock: Clock | None = None,
        room: Room | None = None,
        settings: Settings | None = None,
        signing_key: Secret | None = None,
        quiet: bool = False,
    ) -> None:
        settings = settings or Settings()
        chosen = clock or SystemClock()
        self._room = room or Room((), reserve_bytes=0, clock=chosen)
        ids = IdMaker(chosen)
        self._postgres = Postgres(endpoints.postgres)
        self._clickhouse = ClickHouse(endpoints.clickhouse)
        self._streams = Streams(endpoints.nats, name=name)
        self._queue_room = QueueRoom(self._streams, settings, chosen)
        self._stages = Stages(self._streams, self._queue_room, chosen)
        self._allowances = Allowances(self._postgres, chosen)
        publisher = Publisher(self._streams, require_room=self._room.require)
        identities = CookielessIdentities(
            Bucket(self._streams, COOKIELESS_BUCKET), clock=chosen, randomness=SystemRandomness()
        )
        self.keys = KeyRing(self._postgres, self._streams, chosen)
        places_file = settings.folders.places_file
        self._places = Places(self._postgres, places_file, chosen)
        self.ingest = IngestService(
            publisher,
            identities,
            self._places,
            clock=chosen,
            allowances=self._allowances,
            room=self._queue_room,
        )
        self.identify = IdentifyService(publisher, chosen)
        self.compat = CompatService(self.ingest, self.identify, chosen)
        engine = settings.clickhouse
        self.slots = slots = QuestionSlots(
            QUIET_SHARES if quiet else plan_shares(engine.queries_max)
        )
        self.insights = InsightsService(
            ClickHouseInsights(self._clickhouse, quiet=quiet),
            chosen,
            kept=KeptAnswers(chosen),
            slots=slots,
            layered_flows=settings.insights.user_flow is UserFlowForm.LAYERED,
            cohorts=CohortLookup(self._postgres),
        )
        people = PeopleReader(self._clickhouse)
        self.people = PeopleService(people, slots=slots)
        self.activity = ActivityService(
            ActivityReader(self._clickhouse), people, chosen, slots=slots
        )
        self.discovery = DiscoveryService(DiscoveryReader(self._clickhouse), chosen, slots=slots)
        self.live = LiveService(
            self._streams,
            LiveReader(self._clickhouse),
            chosen,
            watchers_max=settings.api.requests_max // REQUESTS_SHARE,
        )
        self.stores = stores = Stores(
            postgres=self._postgres,
            clickhouse=self._clickhouse,
            streams=self._streams,
            publisher=publisher,
        )
        self.control = ControlPlane(
            stores,
            settings,
            signing_key or ephemeral_key(),
            clock=chosen,
            ids=ids,
        )
        self.annotations = AnnotationsService(self._postgres, self.control.audit, ids=ids)
        self.alerts = make_alerts(
            self._postgres,
            self.insights,
            self.control.audit,
            settings,
            clock=chosen,
            ids=ids,
        )
        self.dashboards = DashboardDesk(
            self._postgres, self.insights, self.control.audit, clock=chosen, ids=ids
        )
        self.cohorts = CohortsService(
            self._postgres,
            ClickHouseMembers(self._clickhouse),
            self.control.audit,
            clock=chosen,
            ids=ids,
            slots=slots,
        )
        self.queries = QueryDesk(stores, endpoints.clickhouse, self.control.audit, self.insights)
        self.projects = self.control.projects
        self.limits = LimitsService(stores, self.control.audit, chosen)
        self.key_chain = self.control.api_keys
        self.jobs = JobsService(stores, chosen)
        self.reports = SubscriptionsService(self._postgres, self.control.audit, chosen)
        self.geo = GeoService(stores, self.control.audit, self._places, places_file)
        self.accounts = self.control.accounts
        self.dead_letters = DeadLettersService(DeadLetters(self._streams))

    async def open(self) -> None:
        """Begin to connect; a store that is down is met again when it is needed."""
        try:
            await self._streams.client()
            await self._queue_room.look()
        except ApplianceError as error:
            _LOG.warning("queue_not_connected", reason=error.reason)
        await self._allowances.open()

    async def settled(self) -> None:
        """Return when what runs beside requests at this moment has ended."""
        await self._queue_room.settle()
        await self._allowances.settle()

    async def figures(self) -> tuple[Family, ...]:
        """The numbers of the queue and of the workers; what cannot be had in time is missing."""
        return await self._stages.families()

    def disk(self) -> DiskState:
        """How full the disk is."""
        return self._room.state

    async def close(self) -> None:
        """Let go of every connection; one that hangs does not keep the others."""
        await self.live.close()
        await self.control.magic_links.close()
        await self.keys.close()
        await self._allowances.close()
        await self._queue_room.close()
        await self._places.close()
        closings: tuple[Awaitable[None], ...] = (
            self._streams.close(),
            self.queries.close(),
            self._clickhouse.close(),
            self._postgres.close(),
        )
        for answer in await asyncio.gather(*closings, return_exceptions=True):
            if isinstance(answer, BaseException):
                _LOG.warning("connection_not_closed", cause=type(answer).__name__)

    async def readiness(self) -> Mapping[str, bool]:
        """Whether each store answers, by the names of [services 2.6].

        There is no replica and no Redis: the writer's answer stands for both PostgreSQL names, and
        the queue, in whose memory the salts live, for `redis`.
        """
        postgres, clickhouse, nats = await asyncio.gather(
            _answers(self._postgres.ping()),
            _answers(self._clickhouse.ping()),
            _answers(self._streams.ping()),
        )
        return {
            "postgres_writer": postgres,
            "postgres_reader": postgres,
            "clickhouse": clickhouse,
            "redis": nats,
            "nats": nats,
        }


def build_services(settings: Settings, *, name: str = "pug-api", quiet: bool = False) -> Services:
    """The services of an installation; raises MisconfiguredError for a missing secret.

    `quiet` is for a process whose questions nobody waits for: they leave way to all others.
    """
    clock = SystemClock()
    room = make_room(settings, clock)
    return Services(
        resolve_endpoints(settings),
        name=name,
        clock=clock,
        room=room,
        settings=settings,
        signing_key=settings.sessions.signing_key
        or load_secret(settings.folders.secrets, SecretName.SESSIONS),
        quiet=quiet,
    )


async def _answers(question: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(READINESS_SECONDS_MAX):
            await question
    except (ApplianceError, TimeoutError) as error:
        _LOG.debug("store_not_ready", cause=type(error).__name__)
        return False
    return True
