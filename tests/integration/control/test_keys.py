"""Keys end everywhere within a second, told or not; their uses cost no writes (decision 0019)."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import cast

import msgspec
import pytest

from appliance.base.errors import InvalidInputError, NotFoundError
from appliance.base.tasks import poll
from appliance.base.units import Seconds
from appliance.config.endpoints import NatsEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.domain.access.callers import Actor, ActorKind
from appliance.services import key_changes
from appliance.services.key_changes import LOOK_SECONDS
from appliance.services.key_use import KeyUse
from appliance.services.keys import KeyRing
from appliance.storage.postgres.pool import Postgres
from appliance.storage.postgres.projects import KeyKind
from appliance.storage.postgres.purge import Waste, delete_waste
from appliance.storage.streams.connection import Streams
from tests.support.clocks import FixedClock
from tests.support.control import ControlStack
from tests.support.locks import waits_for_a_lock

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

WAIT_SECONDS = 30.0
NOWHERE = NatsEndpoint(url=Secret("nats://127.0.0.1:1"), external=True)


class Bench:
    """A project with a private key, and key rings like those of other processes."""

    def __init__(self, control: ControlStack, nats: NatsEndpoint) -> None:
        self.control = control
        self.clock = control.clock
        self.database = control.database
        self.keys = control.services.key_chain
        self.endpoint = self.database._endpoint
        self._nats = nats

    @asynccontextmanager
    async def ring(
        self, *, deaf: bool = False, use: KeyUse | None = None
    ) -> AsyncGenerator[KeyRing]:
        """Another process's ring; a deaf one hears no announcement."""
        streams = Streams(NOWHERE if deaf else self._nats, name="pug-test-ring")
        ring = KeyRing(self.database, streams, self.clock, use=use)
        if not deaf:
            await streams.client()
        try:
            yield ring
        finally:
            await ring.close()
            await streams.close()

    async def make_key(self, name: str = "Shop") -> tuple[str, str, str]:
        """A project of this name, and id and text of a private key of it."""
        project = await self.control.make_project(await self.control.make_org(name), name)
        made = await self.keys.create_key(project, KeyKind.PRIVATE)
        return project, made.id, made.key.reveal()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look is not given up because the machine is slow; a database that hangs does not answer
    in this time either.
    """
    monkeypatch.setattr(key_changes, "LOOK_SECONDS_MAX", 5.0)


@pytest.fixture
async def bench(control: ControlStack, engines: Settings) -> Bench:
    return Bench(control, resolve_endpoints(engines).nats)


async def test_every_process_hears_of_a_revocation(bench: Bench):
    """Time stands still: nothing but the announcement can have told them."""
    _, key_id, key = await bench.make_key()
    async with bench.ring() as one, bench.ring() as two, bench.ring() as three:
        rings = (one, two, three)
        for ring in rings:
            assert await ring.resolve(key) is not None
        await bench.keys.revoke_key(key_id)

        async def gone() -> bool | None:
            return not any([await ring.resolve(key) for ring in rings]) or None

        assert await poll(gone, every_seconds=0.005, timeout_seconds=WAIT_SECONDS)


@pytest.mark.parametrize("act", ["revoke", "delete project", "restore"])
async def test_a_lost_announcement_is_made_up_for(bench: Bench, act: str):
    """Whoever hears nothing notices by the number of changes, within half a second."""
    project, key_id, key = await bench.make_key()
    projects = bench.control.services.projects
    async with bench.ring(deaf=True) as one, bench.ring(deaf=True) as two:
        if act == "restore":
            await projects.delete_project(project)
        before = act != "restore"
        for ring in (one, two):
            assert (await ring.resolve(key) is not None) is before
        match act:
            case "revoke":
                await bench.keys.revoke_key(key_id)
            case "delete project":
                await projects.delete_project(project)
            case _:
                await projects.restore_project(project)
        for ring in (one, two):
            assert (await ring.resolve(key) is not None) is before, "they heard nothing"
        bench.clock.advance(LOOK_SECONDS)
        for ring in (one, two):
            assert (await ring.resolve(key) is not None) is not before


async def test_without_the_number_a_revoked_key_lives_on(bench: Bench):
    """The control arm: it is the number that ends a key nobody told of."""
    await bench.database.execute("DROP TRIGGER api_keys_counted ON api_keys")
    _, key_id, key = await bench.make_key()
    async with bench.ring(deaf=True) as ring:
        assert await ring.resolve(key) is not None
        await bench.keys.revoke_key(key_id)
        bench.clock.advance(LOOK_SECONDS)
        assert await ring.resolve(key) is not None
        bench.clock.advance(60)
        assert await ring.resolve(key) is None


async def test_an_owner_read_before_a_revocation_is_not_remembered_after_it(bench: Bench):
    """A slow question overtaken by the news: its answer holds for that request only."""
    _, key_id, key = await bench.make_key()
    _, _, other = await bench.make_key("Other")
    await bench.database.execute("ALTER TABLE projects RENAME TO projects_behind")
    await bench.database.execute(
        "CREATE VIEW projects AS SELECT p.* FROM projects_behind AS p"
        " WHERE p.display_name <> 'Shop' OR pg_advisory_xact_lock_shared(4711) IS NOT NULL"
    )
    async with bench.ring(deaf=True) as ring:
        async with bench.database.transaction() as gate:
            await gate.execute("SELECT pg_advisory_xact_lock(4711)")
            asking = asyncio.ensure_future(ring.resolve(key))
            await waits_for_a_lock(bench.database)
            await bench.database.execute("DELETE FROM api_keys WHERE id = $1", key_id)
            bench.clock.advance(LOOK_SECONDS)
            news = asyncio.ensure_future(ring.resolve(other))
            await waits_for_a_lock(bench.database, sessions=2)
        assert await asking is not None, "it was read while the key lived"
        assert await news is not None
        assert await ring.resolve(key) is None


async def test_a_look_serves_all_who_wait(bench: Bench):
    """Five hundred requests at once ask two questions, not a thousand."""
    _, _, key = await bench.make_key()
    async with bench.ring() as ring:
        await bench.database.execute("CREATE TABLE looks (at timestamptz)")
        await bench.database.execute("ALTER TABLE key_changes RENAME TO key_changes_behind")
        await bench.database.execute(
            "CREATE FUNCTION look() RETURNS bigint LANGUAGE sql AS"
            " $$ INSERT INTO looks VALUES (now()); SELECT version FROM key_changes_behind $$"
        )
        await bench.database.execute("CREATE VIEW key_changes AS SELECT look() AS version")
        found = await asyncio.gather(*(ring.resolve(key) for _ in range(500)))
        assert all(found)
        assert len(await bench.database.rows("SELECT 1 FROM looks")) == 1


async def test_a_rotated_key_lives_on_for_the_overlap(bench: Bench):
    """Two keys for a week, then one; whoever remembers the old one honours its end."""
    project, key_id, key = await bench.make_key()
    async with bench.ring(deaf=True) as ring:
        assert await ring.resolve(key) is not None
        rotated = await bench.keys.rotate_key(key_id, Seconds.parse("7d"))
        bench.clock.advance(LOOK_SECONDS)
        fresh = rotated.fresh.key.reveal()
        assert fresh.startswith("prv_")
        week = 7 * 86400
        bench.clock.advance(week - 1)
        for known in (key, fresh):
            principal = await ring.resolve(known)
            assert principal is not None
            assert principal.project_id == project
        assert {row.id for row in await bench.keys.list_keys(project)} == {key_id, rotated.fresh.id}
        bench.clock.advance(0.25)
        assert await ring.resolve(key) is not None, "from memory, just before its end"
        bench.clock.advance(0.25)
        assert await ring.resolve(key) is None
        assert await ring.resolve(fresh) is not None
    assert [row.id for row in await bench.keys.list_keys(project)] == [rotated.fresh.id]
    with pytest.raises(NotFoundError):
        await bench.keys.revoke_key(key_id)
    async with bench.database.transaction() as transaction:
        before = bench.clock.now() + timedelta(seconds=1)
        assert await delete_waste(transaction, Waste.KEYS, before=before, limit=10) == 1
    actions = await bench.control.audit_actions()
    assert sorted(actions) == ["project.key.create", "project.key.create", "project.key.rotate"]


async def test_rotation_without_overlap_and_twice(bench: Bench):
    project, key_id, key = await bench.make_key()
    first = await bench.keys.rotate_key(key_id, Seconds(3600))
    again = await bench.keys.rotate_key(key_id, Seconds(7200))
    assert again.old_expires_at == first.old_expires_at, "a rotation never prolongs a life"
    now = await bench.keys.rotate_key(first.fresh.id, Seconds(0))
    assert now.old_expires_at is None
    async with bench.ring() as ring:
        assert await ring.resolve(first.fresh.key.reveal()) is None
        assert await ring.resolve(key) is not None
        assert await ring.resolve(now.fresh.key.reveal()) is not None
    assert len(await bench.keys.list_keys(project)) == 3
    with pytest.raises(NotFoundError) as unknown:
        await bench.keys.rotate_key(first.fresh.id, Seconds(0))
    assert unknown.value.reason == "API_KEY_NOT_FOUND"
    for overlap in (-1, 367 * 86400):
        with pytest.raises(InvalidInputError):
            await bench.keys.rotate_key(key_id, Seconds(overlap))


async def test_uses_are_told_once_a_while(bench: Bench):
    """A thousand requests and two keys: one statement, made by the timer."""
    _, first_id, first = await bench.make_key()
    _, second_id, second = await bench.make_key("Other")
    await count_statements(bench)
    use = KeyUse(bench.database, bench.clock, flush_seconds=3)
    async with bench.ring(use=use) as ring:
        for _ in range(500):
            await ring.resolve(first)
            await ring.resolve(second)
        assert await statements(bench) == 0, "no request writes"

        async def told() -> int | None:
            return await statements(bench) or None

        assert await poll(told, every_seconds=0.02, timeout_seconds=WAIT_SECONDS) == 1
    assert await statements(bench) == 1, "closing had nothing more to tell"
    rows = await bench.database.rows("SELECT id, last_use_time FROM api_keys")
    used = {str(row["id"]): row["last_use_time"] for row in rows}
    assert used == {first_id: bench.clock.now(), second_id: bench.clock.now()}


async def test_closing_tells_the_last_uses_and_an_earlier_one_changes_nothing(bench: Bench):
    project, _, key = await bench.make_key()
    start = bench.clock.now()
    async with bench.ring() as ring:
        await ring.resolve(key)
        bench.clock.advance(30)
        await ring.resolve(key)
    late = KeyUse(bench.database, FixedClock(start))
    row = (await bench.keys.list_keys(project))[0]
    late.note(row.id)
    await late.close()
    row = (await bench.keys.list_keys(project))[0]
    assert row.used_at is not None
    assert (row.used_at - start).total_seconds() == 30


async def test_uses_survive_a_database_that_is_away(bench: Bench):
    """They are told with the next; the request itself is none the wiser."""
    project, key_id, _ = await bench.make_key()
    use = KeyUse(bench.database, bench.clock)
    use.note(key_id)
    await bench.database.execute("ALTER TABLE api_keys RENAME TO api_keys_away")
    await use.close()
    await bench.database.execute("ALTER TABLE api_keys_away RENAME TO api_keys")
    await use.close()
    assert (await bench.keys.list_keys(project))[0].used_at == bench.clock.now()


async def test_ingest_goes_on_while_the_database_hangs(bench: Bench):
    """A look that gets no answer costs a moment, then nobody waits for it."""
    _, _, key = await bench.make_key()
    async with bench.ring() as ring:
        assert await ring.resolve(key) is not None
        async with bench.database.transaction() as gate:
            await gate.execute("LOCK TABLE key_changes, api_keys IN ACCESS EXCLUSIVE MODE")
            bench.clock.advance(61)
            for _ in range(100):
                assert await ring.resolve(key) is not None
        bench.clock.advance(3)
        await bench.database.execute("DELETE FROM api_keys")
        bench.clock.advance(LOOK_SECONDS)
        assert await ring.resolve(key) is None


async def test_ingest_goes_on_while_a_connection_is_dead(bench: Bench):
    """The server's process is stopped: not even giving up the question gets an answer."""
    _, _, key = await bench.make_key()
    database = Postgres(msgspec.structs.replace(bench.endpoint, pool_size_max=1))
    streams = Streams(NOWHERE, name="pug-test-ring")
    ring = KeyRing(database, streams, bench.clock)
    assert await ring.resolve(key) is not None
    row = await database.row("SELECT pg_backend_pid() AS pid")
    assert row is not None
    pid = cast("int", row["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        bench.clock.advance(61)
        async with asyncio.timeout(20):
            for _ in range(100):
                assert await ring.resolve(key) is not None
    finally:
        os.kill(pid, signal.SIGCONT)
        await ring.close()
        await streams.close()
        await database.close()


async def test_what_the_audit_log_says(bench: Bench):
    """Who did it and to which key, never the key itself."""
    project, key_id, key = await bench.make_key()
    somebody = Actor(kind=ActorKind.OPERATOR, label="root")
    await bench.keys.revoke_key(key, actor=somebody)
    rows = await bench.database.rows(
        "SELECT actor_kind, actor_label, action, project_id, subject_kind, subject_id,"
        " details::text AS details FROM audit_entries WHERE action = 'project.key.delete'"
    )
    assert [dict(row) for row in rows] == [
        {
            "actor_kind": "operator",
            "actor_label": "root",
            "action": "project.key.delete",
            "project_id": project,
            "subject_kind": "api_key",
            "subject_id": key_id,
            "details": '{"kind": "private"}',
        }
    ]


async def count_statements(bench: Bench) -> None:
    await bench.database.execute("CREATE TABLE updates (at timestamptz)")
    await bench.database.execute(
        "CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO updates VALUES (now()); RETURN NULL; END $$"
    )
    await bench.database.execute(
        "CREATE TRIGGER told AFTER UPDATE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION told()"
    )


async def statements(bench: Bench) -> int:
    return len(await bench.database.rows("SELECT 1 FROM updates"))
