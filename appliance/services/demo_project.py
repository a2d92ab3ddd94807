"""The demo: an organisation that anybody may look at, filled with the story of a plant shop.

Invariant: idempotent at every start, and nothing that can change anything has a known password:
the one account is a viewer without a password, reached by `DemoSignIn` only [workers 6.1]. Events
and people take the way of all events and people, so what is derived from them is what is derived
from real ones [workers 6.3]; nobody has a profile without events. Numbers and start-up order are
those of [workers 6.2]; the story is told in `domain/shop/`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, time
from typing import Final, LiteralString, cast

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ConflictError
from appliance.base.ids import IdMaker
from appliance.config.model import DemoSettings
from appliance.domain.access.callers import Actor, ActorKind
from appliance.domain.access.roles import Role
from appliance.domain.ingest.event import Batch, Event
from appliance.domain.ingest.facts import RequestFacts
from appliance.domain.people.messages import Identification
from appliance.domain.shop.crowd import Crowd
from appliance.domain.shop.shoppers import SHOPPERS, Shopper, number_of, shopper, traits_of
from appliance.domain.shop.visits import Visit
from appliance.services.demo_boards import BOARDS, DemoBoard, drafts
from appliance.services.wiring import Services
from appliance.storage.postgres.customers import add_customer, find_demo_access
from appliance.storage.postgres.orgs import add_org, join_org

ORG_NAME: Final = "Demo"
PROJECT_NAME: Final = "Plant shop"
BATCH_EVENTS_MAX: Final = 250
"""Events of one sender wait until there are so many; there are about twenty senders."""
EVENTS_A_SHOPPER: Final = 50
"""Of a small back-fill: fewer people rather than people without a story."""
SHOPPERS_MIN: Final = 50
CALLS_AT_ONCE: Final = 20
_SYSTEM: Final = Actor(kind=ActorKind.SYSTEM, label="demo")
_COUNT: Final = "SELECT toInt64(count()) FROM events WHERE project_id = {project:String}"
_PEOPLE: Final = "SELECT toInt64(count()) FROM profiles WHERE project_id = {project:String}"
_IDS: Final = (
    "SELECT distinct_id FROM distinct_id_activity_states"
    " WHERE project_id = {project:String} GROUP BY distinct_id LIMIT 100000"
)

_LOG: Final = structlog.stdlib.get_logger()


class Shop(Struct, frozen=True, kw_only=True):
    """The project of the demo."""

    project_id: str


class Sender(Struct, frozen=True):
    """What the network in front of a shop would say about whoever sends."""

    bot_score: int
    verified: bool | None

    @property
    def facts(self) -> RequestFacts:
        """The same as the headers of a request."""
        headers = {"cf-bot-score": str(self.bot_score)}
        if self.verified is not None:
            headers["cf-verified-bot"] = "true" if self.verified else "false"
        return RequestFacts(headers=headers)


class DemoProject:
    """Makes and fills the demo's project."""

    def __init__(
        self, services: Services, settings: DemoSettings, *, clock: Clock, ids: IdMaker
    ) -> None:
        self._services = services
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._met: set[int] = set()
        wanted = settings.seed_events // EVENTS_A_SHOPPER
        self.crowd = Crowd(min(max(wanted, SHOPPERS_MIN), SHOPPERS))

    async def ensure(self) -> Shop | None:
        """The project, made with account and boards when there is none.

        None when the account's address belongs to somebody who is no mere viewer: then nothing is
        touched. Raises UnavailableError.
        """
        database = self._services.stores.postgres
        access = await find_demo_access(database, self._settings.viewer_email)
        if access is None:
            try:
                shop = await self._make()
            except ConflictError:
                _LOG.warning("demo_account_taken")
                return None
        elif access.role != Role.VIEWER.stored:
            _LOG.warning("demo_account_taken")
            return None
        else:
            shop = Shop(project_id=access.project_id)
        for board in BOARDS:
            await self._ensure_board(shop, board)
        return shop

    async def back_fill(self, shop: Shop) -> int:
        """Fill an empty project; returns how many events were taken.

        A project with fewer events than wanted was interrupted, and stays: its events would count
        twice [workers 6.2]. People are told after their events, and again at a start that finds
        none of them. Raises UnavailableError.
        """
        present = await self.count(shop)
        if present:
            if present < self._settings.seed_events:
                _LOG.warning("demo_seed_incomplete", events=present)
            if not await self._number(shop, _PEOPLE):
                store = self._services.stores.clickhouse
                rows = await store.rows(_IDS, {"project": shop.project_id})
                await self.name_people(shop, {str(name) for (name,) in rows})
            return 0
        now = self._clock.now()
        end = datetime.combine(now.date(), time(now.hour), tzinfo=UTC)
        taken, ids = 0, set[str | None]()
        waiting: defaultdict[Sender, list[Event]] = defaultdict(list)
        for visit in self.crowd.tell(end, self._settings.seed_events):
            ids.update(one.distinct_id for one in visit.events)
            events = waiting[sender_of(visit)]
            events += visit.events
            if len(events) >= self._batch_events:
                taken += await self.send(shop, events, sender_of(visit))
                events.clear()
        for sender, events in waiting.items():
            taken += await self.send(shop, events, sender)
        people = await self.name_people(shop, ids)
        _LOG.info("demo_seeded", events=taken, people=people)
        return taken

    async def send(self, shop: Shop, events: Sequence[Event], sender: Sender) -> int:
        """Hand events over like those of any client; returns how many were taken."""
        if not events:
            return 0
        batch = Batch(events=tuple(events))
        receipt = await self._services.ingest.accept(shop, batch, sender.facts)
        return receipt.accepted

    async def name_people(self, shop: Shop, ids: Collection[str | None]) -> int:
        """Tell who is behind these ids of events, where they have said so; each once a process.

        Returns how many.
        """
        now_ms = int(self._clock.now().timestamp() * 1000)
        numbers = {number for name in ids if (number := number_of(name or "")) is not None}
        fresh = [shopper(number) for number in sorted(numbers - self._met)]
        named = [one for one in fresh if one.named_ms is not None and one.named_ms <= now_ms]
        for start in range(0, len(named), CALLS_AT_ONCE):
            some = named[start : start + CALLS_AT_ONCE]
            await asyncio.gather(*(self._name(shop, one) for one in some))
            self._met.update(one.number for one in some)
        return len(named)

    async def count(self, shop: Shop) -> int:
        """How many events the project has."""
        return await self._number(shop, _COUNT)

    async def _number(self, shop: Shop, sql: LiteralString) -> int:
        store = self._services.stores.clickhouse
        ((number,),) = await store.rows(sql, {"project": shop.project_id})
        return cast("int", number)

    async def _name(self, shop: Shop, one: Shopper) -> None:
        await self._services.identify.hand_over(
            Identification(
                project_id=shop.project_id,
                external_id=one.external_id,
                traits=traits_of(one),
                anonymous_id=one.stranger_id,
                device_id="",
                accepted_at=1000 * (one.named_ms or 0),
            )
        )

    @property
    def _batch_events(self) -> int:
        return min(self._settings.seed_batch_events, BATCH_EVENTS_MAX)

    async def _make(self) -> Shop:
        """Organisation, project and viewer in one transaction; raises ConflictError."""
        now = self._clock.now()
        org_id, customer_id = self._ids.make(), self._ids.make()
        async with self._services.stores.postgres.transaction() as transaction:
            made = await add_customer(
                transaction,
                customer_id=customer_id,
                email=self._settings.viewer_email,
                display_name="Demo visitor",
                verified_at=now,
            )
            if not made:
                raise ConflictError("CUSTOMER_EXISTS", "the demo's address belongs to somebody")
            await add_org(transaction, org_id=org_id, display_name=ORG_NAME, at=now)
            await join_org(
                transaction, org_id=org_id, customer_id=customer_id, role=Role.VIEWER, at=now
            )
            project = await self._services.projects.add(
                transaction, actor=_SYSTEM, org_id=org_id, display_name=PROJECT_NAME, timezone=""
            )
        _LOG.info("demo_project_made", project=project.id)
        return Shop(project_id=project.id)

    async def _ensure_board(self, shop: Shop, wanted: DemoBoard) -> None:
        """Make a board that is missing by name, and bring it into its form [workers 6.2]."""
        boards = self._services.dashboards.boards
        name = wanted.settings.display_name
        known = await boards.list_all(shop.project_id)
        board = next((one for one in known if one.row.display_name == name), None)
        if board is None:
            board = await boards.create(shop.project_id, wanted.settings, actor=_SYSTEM)
        tiles = {tile.content.display_name: tile.id for tile in board.tiles}
        await boards.upsert(shop.project_id, board.row.id, wanted.settings, drafts(wanted, tiles))


def sender_of(visit: Visit) -> Sender:
    """Who sends a visit's events."""
    return Sender(visit.bot_score, visit.verified)
