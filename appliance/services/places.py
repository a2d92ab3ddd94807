"""Where an address is: the operator's networks first, then the imported database.

Invariant: an address goes in and a place comes out; no address is kept, logged or passed on
[ingestion 5]. Asking never waits for a store, except for the very first reading, and that for a
second at most: what is known is used while a newer table is read beside, and a store that does not
answer leaves it as it is. A change is effective within `LOOK_SECONDS` plus one reading, in every
process that takes events (decision 0027).
"""

import asyncio
import math
from collections.abc import Mapping
from contextlib import aclosing
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError
from appliance.base.tasks import Background
from appliance.domain.geo.networks import Address, NetworkTable, own_properties
from appliance.domain.ingest.cookieless import find_client_address
from appliance.domain.ingest.event import Properties, PropertyValue
from appliance.domain.ingest.facts import RequestFacts
from appliance.storage.geo.database import PlaceDatabase, open_places
from appliance.storage.postgres.networks import load_geo_version, read_networks
from appliance.storage.postgres.pool import Postgres

LOOK_SECONDS: Final = 2.0
"""How long places are believed without looking whether something has changed."""
FIRST_SECONDS_MAX: Final = 1.0
"""How long the first requests of a process wait for places."""
CLOSE_SECONDS_MAX: Final = 1.0
_READINGS_MAX: Final = 3
"""How often a table is read anew because somebody changed it meanwhile."""
_NOWHERE: Final[Properties] = {}

_LOG: Final = structlog.stdlib.get_logger()


class Known(Struct, frozen=True, kw_only=True):
    """What this process knows of places at one moment."""

    networks: NetworkTable
    database: PlaceDatabase | None

    @property
    def is_empty(self) -> bool:
        """Whether no address can have a place."""
        return self.database is None and not len(self.networks)

    def find(self, address: Address) -> Properties:
        """What is known of an address.

        A network of the operator that names any place is believed alone; one that only has a site
        leaves the place to the database.
        """
        own = self.networks.find(address)
        known = {} if own is None else own_properties(own)
        if self.database is None or (own is not None and own.place.properties):
            return known
        place = self.database.find(address)
        return known if place is None else {**place.properties, **known}


class Places:
    """Tells where requests come from; one of them a process."""

    def __init__(self, database: Postgres, file: Path, clock: Clock) -> None:
        self._database = database
        self._file = file
        self._clock = clock
        self._known = Known(networks=NetworkTable(), database=None)
        self._version: int | None = None
        self._looked_at = -math.inf
        self._looking: asyncio.Event | None = None
        self._background = Background(tasks_max=1)

    async def of(self, facts: RequestFacts) -> Mapping[str, PropertyValue]:
        """The place of the client; empty when its address tells nothing."""
        if self._clock.monotonic_seconds() - self._looked_at >= LOOK_SECONDS:
            self._look_soon()
        if self._version is None and self._looking is not None:
            await self._wait(self._looking)
        if self._known.is_empty:
            return _NOWHERE
        address = find_client_address(facts).text
        return self._known.find(ip_address(address)) if address else _NOWHERE

    async def find(self, address: Address) -> Properties:
        """The place of an address, for those who ask at the desk; raises UnavailableError."""
        await self._read()
        return self._known.find(address)

    async def close(self) -> None:
        """Let go of everything; before the stores are closed."""
        await self._background.close(timeout_seconds=CLOSE_SECONDS_MAX)

    def _look_soon(self) -> None:
        if self._looking is not None:
            return
        looking = asyncio.Event()

        async def look() -> None:
            try:
                await self._read()
            except ApplianceError as error:
                _LOG.warning("places_unseen", reason=error.reason)
            finally:
                self._looking = None
                looking.set()

        if self._background.start(look):
            self._looking = looking
            self._looked_at = self._clock.monotonic_seconds()

    async def _wait(self, looking: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(FIRST_SECONDS_MAX):
                await looking.wait()
        except TimeoutError:
            _LOG.warning("places_late")

    async def _read(self) -> None:
        """Take over what has changed since the last reading."""
        for _ in range(_READINGS_MAX):
            version = await load_geo_version(self._database)
            if version == self._version:
                return
            table = NetworkTable()
            async with aclosing(read_networks(self._database)) as pages:
                async for page in pages:
                    await asyncio.to_thread(table.add, page)
            if await load_geo_version(self._database) == version:
                self._known = Known(networks=table, database=self._open())
                self._version = version
                return

    def _open(self) -> PlaceDatabase | None:
        """The database; who is reading the one before keeps it open until they are done."""
        try:
            return open_places(self._file)
        except ApplianceError as error:
            _LOG.warning("geo_database_unusable", reason=error.reason)
            return None
