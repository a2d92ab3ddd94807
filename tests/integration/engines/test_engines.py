"""Real engines, started by our own supervisor: who gets in, what survives, what is refused."""

import os
import shutil
import signal
from pathlib import Path

import asyncpg
import pytest

from appliance.base.errors import UnavailableError
from appliance.config.endpoints import (
    ClickHouseEndpoint,
    load_ports,
    resolve_endpoints,
)
from appliance.config.model import Folders, PostgresSettings, Settings
from appliance.config.secrets import Secret
from appliance.engines.clickhouse import check_clickhouse
from appliance.engines.nats import check_jetstream, queue_lag
from appliance.engines.nats_wire import NatsDoor, ask_nats
from appliance.engines.place import Place
from appliance.engines.postgres import postgres_spec
from appliance.supervisor.probe import ask
from appliance.supervisor.spec import Kind
from tests.support.engines import running_engines

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_the_role_of_the_appliance_is_no_superuser(engines: Settings) -> None:
    """It owns its database and nothing else; checksums and locale are as they should be."""
    connection = await asyncpg.connect(resolve_endpoints(engines).postgres.url.reveal())
    try:
        assert await connection.fetchval("SHOW data_checksums") == "on"
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        query = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        assert await connection.fetchval(query) is False
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        assert await connection.fetchval(owner) == engines.postgres.user
    finally:
        await connection.close()


async def test_postgres_refuses_a_wrong_password(engines: Settings) -> None:
    """Also on loopback; and the superuser's name helps nobody."""
    port = load_ports(engines).postgres
    for user in (engines.postgres.user, "postgres", "nobody"):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(
                host="127.0.0.1", port=port, user=user, password="guess", database="pug"
            )


async def test_nats_refuses_strangers(engines: Settings) -> None:
    """With a wrong password and with another name."""
    port = load_ports(engines).nats
    for user in ("pug", "admin"):
        door = NatsDoor(host="127.0.0.1", port=port, user=user, password=Secret("guess"))
        with pytest.raises(UnavailableError, match="Authorization Violation"):
            await ask_nats(door, "$JS.API.INFO")


async def test_nats_answers_us(engines: Settings) -> None:
    """JetStream answers; a subject that nobody serves is an error, not a wait."""
    endpoint = resolve_endpoints(engines).nats
    assert endpoint.password is not None
    door = NatsDoor(
        host="127.0.0.1",
        port=load_ports(engines).nats,
        user="pug",
        password=endpoint.password,
    )
    await check_jetstream(door)
    with pytest.raises(UnavailableError, match="nobody answers"):
        await ask_nats(door, "nobody.listens")
    folders = Folders(root=engines.data_dir)
    await queue_lag(engines, load_ports(engines).nats, folders.secrets)


async def test_clickhouse_answers_us_and_refuses_a_wrong_password(engines: Settings) -> None:
    """The probe is a query with our user."""
    endpoint = resolve_endpoints(engines).clickhouse
    await check_clickhouse(endpoint)
    wrong = ClickHouseEndpoint(
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.user,
        password=Secret("guess"),
        database=endpoint.database,
        secure=False,
        external=False,
    )
    with pytest.raises(UnavailableError, match="ClickHouse"):
        await check_clickhouse(wrong)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
def test_no_engine_runs_as_root(engines: Settings) -> None:
    """Each engine's folder belongs to an account without rights, closed to others."""
    folders = Folders(root=engines.data_dir)
    for folder in (folders.postgres, folders.nats, folders.clickhouse):
        found = folder.stat()
        assert found.st_uid != 0
        assert found.st_mode & 0o777 == 0o700
    assert folders.secrets.stat().st_mode & 0o777 == 0o700
    assert folders.run.stat().st_mode & 0o777 == 0o700


async def test_data_survives_a_restart_and_a_half_made_cluster_does_not(tmp_path: Path) -> None:
    """What an interrupted initdb left is thrown away; a stale pid file stops nobody."""
    folder = tmp_path / "pug"
    half = folder / "postgres.making" / "cluster"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with running_engines(folder, {"postgres"}) as settings:
        url = resolve_endpoints(settings).postgres.url.reveal()
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)")
        await connection.close()
    assert not half.parent.exists()
    cluster = folder / "postgres" / "18"
    # In a container this number belongs to somebody else after a restart: here, to us.
    (cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}\n0\n0\n\n\n")
    shutil.chown(cluster / "postmaster.pid", cluster.stat().st_uid)
    (folder / "secrets" / "postgres-password").write_text("changed")
    async with running_engines(folder, {"postgres"}) as settings:
        url = resolve_endpoints(settings).postgres.url.reveal()
        assert "changed" in url
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT x FROM kept") == 7
        await connection.close()


async def test_an_external_postgres_is_asked_and_not_started(
    engines: Settings, tmp_path: Path
) -> None:
    """The probe passes for a server that answers, and tells why for one that does not."""
    url = resolve_endpoints(engines).postgres.url
    external = Settings(data_dir=tmp_path, postgres=PostgresSettings(url=url))
    ports = load_ports(engines)
    spec = postgres_spec(Place(settings=external, ports=ports, account=None))
    assert spec.kind is Kind.EXTERNAL
    assert spec.argv == ()
    assert spec.probe is not None
    assert await ask(spec.probe) == ""
    refused = Secret(url.reveal().replace("/pug", "/nothing"))
    wrong = Settings(data_dir=tmp_path, postgres=PostgresSettings(url=refused))
    bad = postgres_spec(Place(settings=wrong, ports=ports, account=None))
    assert bad.probe is not None
    assert "nothing" in await ask(bad.probe)


def test_no_port_of_an_engine_is_lent_to_a_client(engines: Settings) -> None:
    """Else somebody who connects between the choice and the start has it."""
    lent = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = load_ports(engines)
    chosen = (ports.postgres, ports.nats, ports.nats_monitor, ports.clickhouse)
    assert all(1024 < port < lent for port in chosen), ports


def test_the_signals_are_those_the_engines_want(engines: Settings) -> None:
    """PostgreSQL: fast, then immediate; and the kernel's signal reaches its backends."""
    place = Place(settings=engines, ports=load_ports(engines), account=None)
    spec = postgres_spec(place)
    assert [step.signal for step in spec.stop] == [signal.SIGINT, signal.SIGQUIT]
    assert spec.death_signal is signal.SIGQUIT
