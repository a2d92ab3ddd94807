"""What the operator tells about places: their networks, a database file, and a trial.

Invariant: a table or file that is not whole changes nothing; what was changed is in the audit log,
and every process that takes events learns of it (`places.py`).
"""

from pathlib import Path
from typing import Final

from msgspec import Struct

from appliance.base.errors import NotFoundError
from appliance.domain.access.callers import Actor
from appliance.domain.geo.networks import NetworkTable, OwnNetwork, parse_address, parse_networks
from appliance.domain.ingest.event import Properties
from appliance.services.audit import AuditLog
from appliance.services.places import Places
from appliance.services.stores import Stores
from appliance.storage.geo.database import (
    DatabaseFacts,
    install_places,
    open_places,
    remove_places,
)
from appliance.storage.postgres.networks import (
    count_geo_change,
    read_networks,
    replace_networks,
)

_SUBJECT: Final = "geo"


class Trial(Struct, frozen=True, kw_only=True):
    """What events from an address would get; `network` is the operator's, empty for none."""

    address: str
    network: str
    properties: Properties


class GeoService:
    """Use-cases about places."""

    def __init__(self, stores: Stores, audit: AuditLog, places: Places, file: Path) -> None:
        self._database = stores.postgres
        self._audit = audit
        self._places = places
        self._file = file

    async def import_networks(self, content: bytes, *, actor: Actor) -> int:
        """Exchange the table of networks by a CSV one; how many it has.

        Raises InvalidInputError (`INVALID_NETWORKS`) naming every bad line.
        """
        networks = parse_networks(content)
        async with self._database.transaction() as transaction:
            # first, so that two imports at once come one after the other
            await count_geo_change(transaction)
            await replace_networks(transaction, networks)
            await self._audit.record(
                transaction,
                actor,
                "geo.networks.import",
                subject_kind=_SUBJECT,
                details={"networks": str(len(networks))},
            )
        return len(networks)

    async def list_networks(self) -> tuple[OwnNetwork, ...]:
        """The networks, in the order of addresses."""
        return tuple([one async for page in read_networks(self._database) for one in page])

    async def try_address(self, text: str) -> Trial:
        """What events from an address would get; raises InvalidInputError for no address."""
        address = parse_address(text)
        own = NetworkTable(await self.list_networks()).find(address)
        return Trial(
            address=str(address),
            network="" if own is None else own.network,
            properties=await self._places.find(address),
        )

    async def import_database(self, source: Path, *, actor: Actor) -> DatabaseFacts:
        """Use a database of places from now on.

        Raises InvalidInputError (`INVALID_GEO_DATABASE`), MisconfiguredError.
        """
        async with self._database.transaction() as transaction:
            await count_geo_change(transaction)
            facts = install_places(source, self._file)
            await self._audit.record(
                transaction,
                actor,
                "geo.database.import",
                subject_kind=_SUBJECT,
                details={"type": facts.type, "built": f"{facts.built_at:%F}"},
            )
        return facts

    def describe_database(self) -> DatabaseFacts:
        """The database in use; raises NotFoundError (`GEO_DATABASE_MISSING`) without one."""
        opened = open_places(self._file)
        if opened is None:
            raise _missing()
        opened.close()
        return opened.facts

    async def remove_database(self, *, actor: Actor) -> None:
        """Use none any more; raises NotFoundError (`GEO_DATABASE_MISSING`) without one."""
        async with self._database.transaction() as transaction:
            await count_geo_change(transaction)
            if not remove_places(self._file):
                raise _missing()
            await self._audit.record(
                transaction, actor, "geo.database.remove", subject_kind=_SUBJECT
            )


def _missing() -> NotFoundError:
    return NotFoundError(
        "GEO_DATABASE_MISSING",
        "there is no database of places",
        hint="run `pug-appliance geo database import FILE.mmdb`; see docs/geo.md",
    )
