"""The demo: an organisation that anybody may look at, filled with the story of a plant shop.

Invariant: idempotent at every start, and nothing that can change anything has a known password:
the one account is a viewer without a password, reached by `DemoSignIn` only [workers 6.1]. Events
take the way of all events, so what is derived from them is what ingest derives [workers 6.3].
Numbers and start-up order are those of [workers 6.2].
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time
from itertools import islice
from typing import Final, cast

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ConflictError
from appliance.base.ids import IdMaker
from appliance.config.model import DemoSettings
from appliance.domain.access.callers import Actor, ActorKind
from appliance.domain.access.roles import Role
from appliance.domain.demo import Story, tell
from appliance.domain.ingest.event import Batch, Event
from appliance.domain.ingest.facts import RequestFacts
from appliance.services.demo_board import BOARD, drafts
from appliance.services.wiring import Services
from appliance.storage.postgres.customers import add_customer, find_demo_access
from appliance.storage.postgres.orgs import add_org, join_org

ORG_NAME: Final = "Demo"
PROJECT_NAME: Final = "Plant shop"
BACKFILL_DAYS: Final = 120
"""Four months [workers 6.3]."""
BATCH_EVENTS_MAX: Final = 1000
EVENTS_A_SESSION: Final = 3
"""Average length of a session of the story."""
STORY_SEED: Final = 1
_SYSTEM: Final = Actor(kind=ActorKind.SYSTEM, label="demo")
_COUNT: Final = "SELECT toInt64(count()) FROM events WHERE project_id = {project:String}"
_LIVE_END: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""Names the endless story, so that a restart goes on with the same visitors."""

_LOG: Final = structlog.stdlib.get_logger()


class Shop(Struct, frozen=True, kw_only=True):
    """The project of the demo."""

    project_id: str


class DemoProject:
    """Makes and fills the demo's project."""

    def __init__(
        self, services: Services, settings: DemoSettings, *, clock: Clock, ids: IdMaker
    ) -> None:
        self._services = services
        self._settings = settings
        self._clock = clock
        self._ids = ids

    @property
    def endless(self) -> Story:
        """The story that goes on by itself."""
        sessions = max(1, self._settings.seed_events // EVENTS_A_SESSION)
        return Story(seed=STORY_SEED, end=_LIVE_END, days=1, sessions=sessions)

    async def ensure(self) -> Shop | None:
        """The project, made with account and board when there is none.

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
        await self._ensure_board(shop)
        return shop

    async def back_fill(self, shop: Shop) -> int:
        """Fill an empty project; returns how many events were taken.

        A project with fewer events than wanted was interrupted, and stays: its events would count
        twice [workers 6.2]. Raises UnavailableError.
        """
        present = await self.count(shop)
        if present:
            if present < self._settings.seed_events:
                _LOG.warning("demo_seed_incomplete", events=present)
            return 0
        now = self._clock.now()
        story = Story(
            seed=STORY_SEED,
            end=datetime.combine(now.date(), time(now.hour), tzinfo=UTC),
            days=BACKFILL_DAYS,
            sessions=max(1, self._settings.seed_events // EVENTS_A_SESSION),
        )
        taken = 0
        for batch in _batches(tell(story), self._batch_events):
            taken += await self.send(shop, batch)
        _LOG.info("demo_seeded", events=taken)
        return taken

    async def send(self, shop: Shop, events: Sequence[Event]) -> int:
        """Hand events over like those of any client; returns how many were taken."""
        batch = Batch(events=tuple(events))
        receipt = await self._services.ingest.accept(shop, batch, RequestFacts())
        return receipt.accepted

    async def count(self, shop: Shop) -> int:
        """How many events the project has."""
        store = self._services.stores.clickhouse
        ((number,),) = await store.rows(_COUNT, {"project": shop.project_id})
        return cast("int", number)

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

    async def _ensure_board(self, shop: Shop) -> None:
        boards = self._services.dashboards.boards
        known = await boards.list_all(shop.project_id)
        if any(board.row.display_name == BOARD.display_name for board in known):
            return
        board = await boards.create(shop.project_id, BOARD, actor=_SYSTEM)
        await boards.upsert(shop.project_id, board.row.id, BOARD, drafts())


def _batches(events: Iterator[Event], number: int) -> Iterator[list[Event]]:
    while batch := list(islice(events, number)):
        yield batch
