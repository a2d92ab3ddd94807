"""Places from the operator's networks and database, from the command line to the queue."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from appliance.base.errors import InvalidInputError
from appliance.base.tasks import poll
from appliance.base.units import Seconds
from appliance.cli.main import main
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.geo.networks import NETWORKS_MAX
from appliance.domain.ingest.facts import RequestFacts
from appliance.services.places import LOOK_SECONDS
from appliance.services.projects import OPERATOR
from appliance.services.wiring import Services, build_services
from appliance.storage.migrate import migrate_nats, migrate_postgres
from appliance.storage.streams.publish import EVENTS_STREAM, EVENTS_SUBJECT
from tests.support.place_files import GRAZ_ADDRESS, LONDON_ADDRESS, write_places
from tests.support.properties import batch_of, wire_event

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

TABLE = b"""network,site,country,city
10.0.0.0/8,Head office,AT,Graz
10.20.0.0/16,Linz plant,,
81.2.69.0/24,Far away,,
"""
SECONDS_MAX = LOOK_SECONDS + 30
"""Within how long a change is seen, with the time of a slow machine."""


class Prj:
    """The project of these tests."""

    project_id = "geo"


@pytest.fixture
async def services(engines: Settings) -> AsyncGenerator[Services]:
    """The use-cases of one process."""
    endpoints = resolve_endpoints(engines)
    await migrate_postgres(endpoints.postgres, lambda _name: None)
    await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)
    services = build_services(engines, name="test-geo")
    await services.geo.import_networks(b"network\n", actor=OPERATOR)
    yield services
    await services.geo.import_networks(b"network\n", actor=OPERATOR)
    await services.close()


@pytest.fixture
async def others(engines: Settings, services: Services) -> AsyncGenerator[Services]:
    """The use-cases of another process."""
    others = build_services(engines, name="test-geo-other")
    yield others
    await others.close()


class Sent:
    """What becomes of an event from an address."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._number = 0

    async def row(self, address: str, **auto: str) -> dict[str, Any]:
        """The row on the queue; the event comes through a proxy that names this address."""
        self._number += 1
        event = wire_event(
            eventId=f"6f1d9f62-0c7b-4d0e-8a55-{id(self) % 2**24:06x}{self._number:06x}",
            autoProperties={f"${key}": {"stringValue": value} for key, value in auto.items()},
        )
        facts = RequestFacts(headers={"x-forwarded-for": address}, peer="127.0.0.1")
        await self._services.ingest.accept(Prj, batch_of({"events": [event]}), facts)  # type: ignore[arg-type] a class with the one attribute
        jetstream = await self._services.stores.streams.jetstream()
        message = await jetstream.get_last_msg(EVENTS_STREAM, EVENTS_SUBJECT)
        assert message.data is not None
        assert address.encode() not in message.data
        row = json.loads(message.data)
        assert row["event_id"].lower() == event["eventId"]
        return {**row, **row.get("auto_properties", {})}

    async def country(self, address: str, wanted: str, site: str = "") -> dict[str, Any]:
        """The row once it has this country and site, or as it is when the time is over."""

        async def reached() -> dict[str, Any] | None:
            row = await self.row(address)
            found = (row.get("country", ""), row.get("$site", ""))
            return row if found == (wanted, site) else None

        found = await poll(reached, every_seconds=0.1, timeout_seconds=SECONDS_MAX)
        return found or await self.row(address)


async def test_a_table_reaches_every_process_within_seconds(
    services: Services, others: Services
) -> None:
    """Without one (the control arm) only the client's own words count."""
    here, there = Sent(services), Sent(others)
    for sent in (here, there):
        row = await sent.row("10.1.2.3", city="Paris")
        assert (row["city"], "country" in row, "$site" in row) == ("Paris", False, False)
    await services.geo.import_networks(TABLE, actor=OPERATOR)
    for sent in (here, there):
        row = await sent.country("10.1.2.3", "AT", "sHead office")
        assert (row["country"], row["city"], row["$site"]) == ("AT", "Graz", "sHead office")
    row = await there.row("10.20.1.1", city="Paris")
    assert (row["city"], "country" in row, row["$site"]) == ("Paris", False, "sLinz plant")
    row = await there.row("192.0.2.1")
    assert "country" not in row
    await others.geo.import_networks(b"network\n", actor=OPERATOR)
    row = await here.country("10.1.2.3", "")
    assert "country" not in row


async def test_a_database_speaks_where_the_table_names_no_place(
    services: Services, others: Services, tmp_path: Path
) -> None:
    sent = Sent(others)
    assert "country" not in await sent.row(LONDON_ADDRESS)
    await services.geo.import_networks(TABLE, actor=OPERATOR)
    await services.geo.import_database(write_places(tmp_path / "w.mmdb"), actor=OPERATOR)
    row = await sent.country(LONDON_ADDRESS, "GB", "sFar away")
    assert (row["country"], row["city"], row["$site"]) == ("GB", "London", "sFar away")
    row = await sent.row(GRAZ_ADDRESS)
    assert (row["country"], row["region"], row["city"]) == ("AT", "Styria", "Graz")
    row = await sent.row("10.1.2.3")
    assert (row["country"], row["city"]) == ("AT", "Graz")
    damaged = tmp_path / "damaged.mmdb"
    damaged.write_bytes(b"x" * 1000)
    with pytest.raises(InvalidInputError):
        await services.geo.import_database(damaged, actor=OPERATOR)
    assert (await sent.row(LONDON_ADDRESS))["country"] == "GB"
    await services.geo.remove_database(actor=OPERATOR)
    assert "country" not in await sent.country(LONDON_ADDRESS, "", "sFar away")


async def test_a_bad_table_changes_nothing(services: Services) -> None:
    await services.geo.import_networks(TABLE, actor=OPERATOR)
    before = await services.geo.list_networks()
    with pytest.raises(InvalidInputError):
        await services.geo.import_networks(b"network,site\n10.0.0.0/8,a\nx,b\n", actor=OPERATOR)
    assert await services.geo.list_networks() == before


@pytest.mark.slow
async def test_the_largest_table(services: Services) -> None:
    """A hundred thousand networks are imported, read and found."""
    lines = [f"10.{n >> 9}.{n >> 1 & 255}.{(n & 1) << 7}/25,Site {n}" for n in range(1 << 16)]
    lines += [
        f"fd00:{n >> 16:x}:{n & 65535:x}::/48,Six {n}" for n in range(NETWORKS_MAX - len(lines))
    ]
    table = "\n".join(["network,site", *lines]).encode()
    assert await services.geo.import_networks(table, actor=OPERATOR) == NETWORKS_MAX
    assert len({one.network for one in await services.geo.list_networks()}) == NETWORKS_MAX
    trial = await services.geo.try_address("10.3.2.200")
    assert (trial.network, trial.properties) == ("10.3.2.128/25", {"$site": "Site 1541"})
    with pytest.raises(InvalidInputError):
        await services.geo.import_networks(table + b"\n11.0.0.0/8,more", actor=OPERATOR)


def test_the_commands(
    engines: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Import, show, try and remove, as text and as JSON; refusals have their status."""

    def say(*words: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--data-dir", str(engines.data_dir)])
        assert (ended.value.code or 0) == status
        return capsys.readouterr().out

    table = tmp_path / "networks.csv"
    table.write_bytes(TABLE)
    assert "3 networks" in say("geo", "networks", "import", str(table))
    assert "Linz plant" in say("geo", "networks", "show")
    (first, *_) = json.loads(say("geo", "networks", "show", "--json"))
    assert (first["network"], first["city"]) == ("10.0.0.0/8", "Graz")
    assert "10.20.0.0/16" in say("geo", "networks", "test", "10.20.3.4")
    assert "not known" in say("geo", "networks", "test", "192.0.2.1")
    say("geo", "networks", "test", "nowhere", status=2)
    say("geo", "networks", "import", str(tmp_path / "none.csv"), status=2)
    say("geo", "database", "show", status=1)
    world = write_places(tmp_path / "world.mmdb")
    assert "Test-City" in say("geo", "database", "import", str(world))
    trial = json.loads(say("geo", "networks", "test", LONDON_ADDRESS, "--json"))
    assert (trial["network"], trial["properties"]["$city"]) == ("81.2.69.0/24", "London")
    assert json.loads(say("geo", "database", "show", "--json"))["type"] == "Test-City"
    say("geo", "database", "import", str(table), status=2)
    assert "removed" in say("geo", "database", "remove")
    say("geo", "database", "remove", status=1)
    table.write_text("network,site\n")
    assert "0 networks" in say("geo", "networks", "import", str(table))
    acts = [json.loads(line) for line in say("audit", "export", "--action", "geo").splitlines()]
    told = {act["action"]: act for act in acts}
    assert set(told) == {"geo.networks.import", "geo.database.import", "geo.database.remove"}
    assert told["geo.networks.import"]["details"]["networks"] == "0"
