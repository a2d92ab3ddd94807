"""The operator's networks in PostgreSQL, and the number that says whether places have changed.

Invariant: the table is exchanged as a whole in one transaction, and whatever changes a place
changes the number of `load_geo_version` in the same transaction, by the trigger of migration 0010
or by `count_geo_change`.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, cast

from appliance.domain.geo.networks import NETWORKS_MAX, OwnNetwork
from appliance.domain.geo.place import Place
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres, Transaction

PAGE_ROWS: Final = 5_000
"""Rows read at once: what one page costs the event loop stays below ten milliseconds."""

_VERSION: Final = "SELECT version FROM geo_changes"
_COUNT: Final = "UPDATE geo_changes SET version = version + 1"
_PAGE: Final = """
SELECT text(g.network) AS network, site, continent, country, region, city, postal_code, timezone,
    latitude, longitude
FROM geo_networks AS g WHERE $1::text IS NULL OR g.network > $1::cidr ORDER BY g.network LIMIT $2
"""
_CLEAR: Final = "DELETE FROM geo_networks"
_ADD: Final = """
INSERT INTO geo_networks (network, site, continent, country, region, city, postal_code, timezone,
    latitude, longitude)
SELECT network::cidr, site, continent, country, region, city, postal_code, timezone,
    latitude, longitude
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::double precision[], $10::double precision[])
    AS told (network, site, continent, country, region, city, postal_code, timezone,
        latitude, longitude)
"""


async def load_geo_version(database: Postgres) -> int:
    """A number that changes whenever a network or the imported database has changed."""
    row = await database.row(_VERSION)
    assert row is not None, "migration 0010 made it"
    return cast("int", row["version"])


async def count_geo_change(transaction: Transaction) -> None:
    """Say that something else about places has changed."""
    await transaction.execute(_COUNT)


async def read_networks(database: Postgres) -> AsyncGenerator[tuple[OwnNetwork, ...]]:
    """All networks in their order, in pages; pages are no single moment of the table."""
    after: str | None = None
    for _ in range(NETWORKS_MAX // PAGE_ROWS + 1):
        rows = await database.rows(_PAGE, after, PAGE_ROWS)
        page = tuple(_network(row) for row in rows)
        if not page:
            return
        yield page
        after = page[-1].network


async def replace_networks(transaction: Transaction, networks: Sequence[OwnNetwork]) -> None:
    """Exchange the whole table."""
    await transaction.execute(_CLEAR)
    for start in range(0, len(networks), PAGE_ROWS):
        page = networks[start : start + PAGE_ROWS]
        await transaction.execute(
            _ADD,
            [one.network for one in page],
            [one.site for one in page],
            [one.place.continent for one in page],
            [one.place.country for one in page],
            [one.place.region for one in page],
            [one.place.city for one in page],
            [one.place.postal_code for one in page],
            [one.place.timezone for one in page],
            [one.place.latitude for one in page],
            [one.place.longitude for one in page],
        )


def _network(row: Record) -> OwnNetwork:
    return OwnNetwork(
        network=str(row["network"]),
        site=str(row["site"]),
        place=Place(
            continent=str(row["continent"]),
            country=str(row["country"]),
            region=str(row["region"]),
            city=str(row["city"]),
            postal_code=str(row["postal_code"]),
            timezone=str(row["timezone"]),
            latitude=cast("float | None", row["latitude"]),
            longitude=cast("float | None", row["longitude"]),
        ),
    )
