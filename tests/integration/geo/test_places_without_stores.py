"""Places while a store is away: nobody waits for them twice, and nothing known is lost."""

import asyncio
from pathlib import Path

import pytest

from appliance.config.endpoints import PostgresEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.domain.geo.networks import parse_networks
from appliance.domain.ingest.facts import RequestFacts
from appliance.services.places import LOOK_SECONDS, Places
from appliance.storage.migrate import migrate_postgres
from appliance.storage.postgres.networks import replace_networks
from appliance.storage.postgres.pool import Postgres
from tests.support.clocks import FixedClock
from tests.support.control import own_schema
from tests.support.place_files import LONDON_ADDRESS, write_places

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

HERE = RequestFacts(peer="10.1.2.3")
LONDON = RequestFacts(peer=LONDON_ADDRESS)
NOWHERE = PostgresEndpoint(
    url=Secret("postgresql://nobody@127.0.0.1:1/none"), pool_size_max=1, external=True
)


async def settle(places: Places) -> None:
    """Return when a reading that was begun has ended."""
    if places._looking is not None:
        await places._looking.wait()
    await asyncio.sleep(0)


async def test_a_store_that_never_was(tmp_path: Path) -> None:
    """Events are taken without a place; the next look comes after its time, not with each event."""
    clock = FixedClock()
    places = Places(Postgres(NOWHERE), tmp_path / "places.mmdb", clock)
    assert await places.of(HERE) == {}
    looked_at = places._looked_at
    assert await places.of(HERE) == {}
    assert (places._looking, places._looked_at) == (None, looked_at)
    clock.advance(LOOK_SECONDS)
    await settle(places)
    assert await places.of(HERE) == {}
    assert places._looked_at > looked_at
    await places.close()


async def test_a_store_that_goes_away(engines: Settings, tmp_path: Path) -> None:
    """What is known stays; a file that is broken by hand takes only its own places away."""
    async with own_schema(resolve_endpoints(engines)) as endpoints:
        await migrate_postgres(endpoints.postgres, lambda _name: None)
        database = Postgres(endpoints.postgres)
        async with database.transaction() as transaction:
            await replace_networks(transaction, parse_networks(b"network,site\n10.0.0.0/8,Works\n"))
        clock = FixedClock()
        file = write_places(tmp_path / "places.mmdb")
        places = Places(database, file, clock)
        assert await places.of(HERE) == {"$site": "Works"}
        assert (await places.of(LONDON))["$city"] == "London"

        places._database = Postgres(NOWHERE)
        clock.advance(LOOK_SECONDS)
        assert await places.of(HERE) == {"$site": "Works"}
        await settle(places)
        assert await places.of(HERE) == {"$site": "Works"}

        places._database = database
        file.unlink()
        file.write_bytes(b"broken")
        async with database.transaction() as transaction:
            await replace_networks(transaction, parse_networks(b"network,site\n10.0.0.0/8,Home\n"))
        clock.advance(LOOK_SECONDS)
        await places.of(HERE)
        await settle(places)
        assert await places.of(HERE) == {"$site": "Home"}
        assert await places.of(LONDON) == {}
        await places.close()
        await database.close()
