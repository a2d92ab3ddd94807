"""Projects, keys and accounts on a real database and queue."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from appliance.base.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from appliance.base.tasks import poll
from appliance.base.units import Seconds
from appliance.config.endpoints import ClickHouseEndpoint, Endpoints, NatsEndpoint, PostgresEndpoint
from appliance.config.secrets import Secret
from appliance.domain.access.roles import Role
from appliance.services.wiring import Services
from appliance.storage.migrate import migrate_nats, migrate_postgres
from appliance.storage.postgres.pool import Postgres
from appliance.storage.postgres.projects import KeyKind
from tests.support.clocks import FixedClock

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def services(endpoints: Endpoints) -> AsyncGenerator[Services]:
    await migrate_postgres(endpoints.postgres, lambda _name: None)
    await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)
    opened = Services(endpoints, name="pug-test")
    await opened.open()
    yield opened
    await opened.close()


async def test_project_has_a_public_key(services: Services) -> None:
    """A project comes with one public key that resolves to it [services 3.4]."""
    made = await services.projects.create_project("Shop", timezone="Europe/Vienna")
    principal = await services.keys.resolve(made.public_key.key.reveal())
    assert principal is not None
    assert principal.project_id == made.id
    assert principal.timezone == "Europe/Vienna"
    assert principal.kind is KeyKind.PUBLIC
    assert [one.kind for one in await services.key_chain.list_keys(made.id)] == [KeyKind.PUBLIC]


async def test_project_name_is_taken(services: Services) -> None:
    """One organisation has one project of a name; the failed one leaves nothing."""
    await services.projects.create_project("Shop")
    with pytest.raises(ConflictError) as caught:
        await services.projects.create_project("Shop")
    assert caught.value.reason == "PROJECT_NAME_TAKEN"
    assert len(await services.projects.list_projects()) == 1


async def test_projects_made_at_once_share_the_organisation(services: Services) -> None:
    """The default organisation is made once however many ask for it."""
    made = await asyncio.gather(*(services.projects.create_project(f"P{n}") for n in range(4)))
    assert len({one.org_id for one in made}) == 1


@pytest.mark.parametrize(
    ("name", "zone", "reason"),
    [
        ("", "", "INVALID_ARGUMENT"),
        ("x" * 151, "", "INVALID_ARGUMENT"),
        ("x", "Mars/Olympus", "INVALID_TIMEZONE"),
        ("x", "../../etc/passwd", "INVALID_TIMEZONE"),
    ],
)
async def test_bad_project(services: Services, name: str, zone: str, reason: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await services.projects.create_project(name, timezone=zone)
    assert caught.value.reason == reason


async def test_private_key_is_stored_as_its_hash(services: Services, endpoints: Endpoints) -> None:
    """The text of a private key is nowhere in the database [services 3.4]."""
    project = await services.projects.create_project("Shop")
    made = await services.key_chain.create_key(project.id, KeyKind.PRIVATE, display_name="ci")
    database = Postgres(endpoints.postgres)
    rows = await database.rows("SELECT token, masked FROM api_keys WHERE kind = 'private'")
    await database.close()
    assert len(str(rows[0]["token"])) == 64
    assert made.key.reveal() not in str([dict(row) for row in rows])


async def test_revoked_key_is_forgotten_by_other_processes(
    services: Services, endpoints: Endpoints
) -> None:
    """A revocation reaches the cache of every process at once."""
    other = Services(endpoints, name="pug-test-2")
    await other.open()
    try:
        project = await services.projects.create_project("Shop")
        made = await services.key_chain.create_key(project.id, KeyKind.PRIVATE)
        key = made.key.reveal()
        assert await other.keys.resolve(key) is not None
        await services.key_chain.revoke_key(made.id)

        async def gone() -> bool | None:
            return await other.keys.resolve(key) is None or None

        assert await poll(gone, every_seconds=0.02, timeout_seconds=30)
    finally:
        await other.close()
    with pytest.raises(NotFoundError) as caught:
        await services.key_chain.revoke_key(made.id)
    assert caught.value.reason == "API_KEY_NOT_FOUND"


async def test_unknown_and_malformed_keys(services: Services) -> None:
    for key in ("pub_" + "0" * 20, "nonsense", "", "pub_'; --", "pub_" + "0" * 500):
        assert await services.keys.resolve(key) is None


async def test_database_down_is_unavailable_not_unknown(endpoints: Endpoints) -> None:
    """A failing look-up must not look like a wrong key: SDKs drop events on that [services 3.1]."""
    nowhere = msgspec.structs.replace(
        endpoints,
        postgres=PostgresEndpoint(
            url=Secret("postgresql://pug@127.0.0.1:1/pug"), pool_size_max=2, external=True
        ),
    )
    services = Services(nowhere, name="pug-test")
    try:
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await services.keys.resolve("pub_" + "0" * 20)
    finally:
        await services.close()


async def test_known_key_lives_on_while_the_database_is_down(endpoints: Endpoints) -> None:
    """Ingest goes on for keys that were known when the database went away."""
    await migrate_postgres(endpoints.postgres, lambda _name: None)
    clock = FixedClock()
    services = Services(endpoints, name="pug-test", clock=clock)
    try:
        project = await services.projects.create_project("Shop")
        key = project.public_key.key.reveal()
        assert await services.keys.resolve(key) is not None
        admin = Postgres(endpoints.postgres)
        await admin.execute("ALTER TABLE api_keys RENAME TO elsewhere")
        await admin.close()
        clock.advance(61)
        assert await services.keys.resolve(key) is not None
        clock.advance(7200)
        with pytest.raises(UnavailableError):
            await services.keys.resolve(key)
    finally:
        await services.close()


async def test_services_start_while_every_store_is_down() -> None:
    """Building and opening never fails because a store is down; readiness says so."""
    endpoints = Endpoints(
        postgres=PostgresEndpoint(
            url=Secret("postgresql://pug@127.0.0.1:1/pug"), pool_size_max=2, external=True
        ),
        nats=NatsEndpoint(url=Secret("nats://127.0.0.1:1"), external=True),
        clickhouse=ClickHouseEndpoint(
            host="127.0.0.1",
            port=1,
            user="pug",
            password=None,
            database="pug",
            secure=False,
            external=False,
        ),
    )
    services = Services(endpoints, name="pug-test")
    await services.open()
    assert not any((await services.readiness()).values())
    await services.close()


async def test_user_with_password_and_role(services: Services, endpoints: Endpoints) -> None:
    """A user is stored with a bcrypt hash and the role in the oldest organisation."""
    create = services.accounts.create_user
    made = await create("Ann@Example.com", Secret("secret1"), role=Role.ADMIN)
    database = Postgres(endpoints.postgres)
    row = await database.row(
        "SELECT c.email, c.password_hash, m.role FROM customers c JOIN org_members m "
        "ON m.customer_id = c.id WHERE c.id = $1",
        made.id,
    )
    await database.close()
    assert row is not None
    assert row["email"] == "Ann@Example.com"
    assert row["role"] == "ORG_ROLE_ADMIN"
    assert str(row["password_hash"]).startswith("$2b$10$")
    with pytest.raises(ConflictError):
        await create("ann@example.COM", Secret("secret1"), role=Role.VIEWER)


@pytest.mark.parametrize(
    ("email", "password", "reason"),
    [
        ("no-address", "secret1", "INVALID_ARGUMENT"),
        ("a@b", "short", "INVALID_ARGUMENT"),
        ("a@b", "ä" * 40, "PASSWORD_TOO_LONG"),
    ],
)
async def test_bad_user(services: Services, email: str, password: str, reason: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await services.accounts.create_user(email, Secret(password), role=Role.ADMIN)
    assert caught.value.reason == reason
