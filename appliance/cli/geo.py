"""`geo`: where addresses are."""

from pathlib import Path

import click
import msgspec

from appliance.base.errors import InvalidInputError
from appliance.cli.desk import at_desk, operator
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.domain.geo.networks import OwnNetwork
from appliance.services.wiring import Services
from appliance.storage.geo.database import DatabaseFacts

_FILE = click.Path(path_type=Path, dir_okay=False)


class ShownNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network as JSON shows it: the columns of the table that is imported."""

    network: str
    site: str
    continent: str
    country: str
    region: str
    city: str
    postal_code: str
    timezone: str
    latitude: float | None
    longitude: float | None


@click.group()
def geo() -> None:
    """Where addresses are: the operator's networks and a database file."""


@geo.group()
def networks() -> None:
    """The operator's own networks."""


@networks.command("import")
@click.argument("file", type=_FILE)
@json_option
@settings_options
def import_networks(settings: Settings, *, file: Path, as_json: bool) -> None:
    """Exchange the table of networks by FILE (CSV with a line of headings)."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInputError("INVALID_NETWORKS", f"{file} cannot be read") from error
    count = at_desk(
        settings, lambda services: services.geo.import_networks(content, actor=operator())
    )
    if as_json:
        print_json({"networks": count})
    else:
        print(f"{count} networks; events get their places within seconds")


@networks.command()
@json_option
@settings_options
def show(settings: Settings, *, as_json: bool) -> None:
    """The networks, in the order of addresses."""
    rows = at_desk(settings, lambda services: services.geo.list_networks())
    if as_json:
        print_json([_shown(row) for row in rows])
        return
    print_table(
        ("NETWORK", "SITE", "COUNTRY", "REGION", "CITY", "COORDINATES"),
        [
            (
                row.network,
                row.site,
                row.place.country,
                row.place.region,
                row.place.city,
                ""
                if row.place.latitude is None
                else f"{row.place.latitude:g} {row.place.longitude:g}",
            )
            for row in rows
        ],
    )


@networks.command()
@click.argument("address")
@json_option
@settings_options
def test(settings: Settings, *, address: str, as_json: bool) -> None:
    """What events from ADDRESS get, from the networks and the database."""
    trial = at_desk(settings, lambda services: services.geo.try_address(address))
    if as_json:
        print_json(trial)
        return
    print(f"{trial.address} is in {trial.network or 'no network of the table'}")
    for key, value in trial.properties.items():
        print(f"{key:<14}{value}")
    if not trial.properties:
        print("its place is not known; what a client says about it stays")


@geo.group()
def database() -> None:
    """A database of places in MaxMind's format."""


@database.command("import")
@click.argument("file", type=_FILE)
@json_option
@settings_options
def import_database(settings: Settings, *, file: Path, as_json: bool) -> None:
    """Check FILE (.mmdb) and use it from now on."""
    facts = at_desk(settings, lambda services: services.geo.import_database(file, actor=operator()))
    _tell(facts, as_json=as_json)


@database.command("show")
@json_option
@settings_options
def show_database(settings: Settings, *, as_json: bool) -> None:
    """Type, day and size of the database in use."""

    async def describe(services: Services) -> DatabaseFacts:
        return services.geo.describe_database()

    _tell(at_desk(settings, describe), as_json=as_json)


@database.command("remove")
@json_option
@settings_options
def remove_database(settings: Settings, *, as_json: bool) -> None:
    """Use no database any more."""
    at_desk(settings, lambda services: services.geo.remove_database(actor=operator()))
    if as_json:
        print_json({"removed": True})
    else:
        print("removed; places come from the networks of the table only")


def _tell(facts: DatabaseFacts, *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    lines = (
        ("type", facts.type),
        ("built", f"{facts.built_at:%F}"),
        ("addresses", "IPv4 and IPv6" if facts.ip_version == 6 else "IPv4"),  # noqa: PLR2004 the protocol's number
        ("size", f"{facts.bytes / 1e6:.1f} MB"),
    )
    for heading, text in lines:
        print(f"{heading:<11}{text}")


def _shown(own: OwnNetwork) -> ShownNetwork:
    place = own.place
    return ShownNetwork(
        network=own.network,
        site=own.site,
        continent=place.continent,
        country=place.country,
        region=place.region,
        city=place.city,
        postal_code=place.postal_code,
        timezone=place.timezone,
        latitude=place.latitude,
        longitude=place.longitude,
    )
