"""`pug-appliance org` on a real database, without a mail provider."""

import asyncio
import re
import uuid
from collections.abc import Callable, Generator

import asyncpg
import msgspec
import pytest

from appliance.cli.main import main
from appliance.cli.org import ShownInvitation
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.postgres.orgs import CountedOrg, MemberRow
from tests.support.orgs import hash_of

pytestmark = pytest.mark.integration

Run = Callable[..., tuple[int, str, str]]
LINK = re.compile(r"http://127\.0\.0\.1:\d+/magic-link\?token=([0-9a-f]{32})")


class World(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation with one administrator."""

    org_id: str
    name: str
    email: str


def query(settings: Settings, statement: str, *values: object) -> list[asyncpg.Record]:
    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(resolve_endpoints(settings).postgres.url.reveal())
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.fixture
def run(engines: Settings, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--data-dir", str(engines.data_dir)])
        output = capsys.readouterr()
        status = ended.value.code
        return (status if isinstance(status, int) else 0), output.out, output.err

    status, _, error = call("postgres", "migrate")
    assert status == 0, error
    return call


@pytest.fixture
def world(engines: Settings, run: Run) -> Generator[World]:
    mark = uuid.uuid4().hex[:12]
    made = World(org_id=f"o{mark}", name=f"Kennel {mark}", email=f"{mark}@pug.test")
    query(engines, "INSERT INTO orgs (id, display_name) VALUES ($1, $2)", made.org_id, made.name)
    query(engines, "INSERT INTO customers (id, email) VALUES ($1, $2)", f"c{mark}", made.email)
    query(
        engines,
        "INSERT INTO org_members (org_id, customer_id, role) VALUES ($1, $2, 'ORG_ROLE_ADMIN')",
        made.org_id,
        f"c{mark}",
    )
    yield made
    query(engines, "DELETE FROM orgs WHERE id = $1", made.org_id)
    query(engines, "DELETE FROM customers WHERE id = $1", f"c{mark}")


def test_list(run: Run, world: World):
    status, out, _ = run("org", "list")
    assert status == 0
    assert re.search(rf"{world.org_id}\s+{world.name}\s+1\s+1\s", out)
    _, out, _ = run("org", "list", "--json")
    listed = msgspec.json.decode(out, type=list[CountedOrg])
    [mine] = [each for each in listed if each.id == world.org_id]
    assert (mine.display_name, mine.members, mine.admins) == (world.name, 1, 1)


def test_members(run: Run, world: World):
    status, out, _ = run("org", "members", world.org_id)
    assert status == 0
    assert re.search(rf"{world.email}\s+-\s+admin\s", out)
    _, out, _ = run("org", "members", world.org_id, "--json")
    [member] = msgspec.json.decode(out, type=list[MemberRow])
    assert (member.email, member.disabled) == (world.email, False)
    status, _, error = run("org", "members", "nowhere")
    assert (status, "no such organisation" in error) == (1, True)


def test_invite_prints_a_link_to_hand_over(run: Run, world: World, engines: Settings):
    status, out, error = run("org", "invite", world.org_id, "mina@pug.test", "--role", "viewer")
    assert status == 0, error
    assert "no mail is sent; hand this link over" in out
    found = LINK.search(out)
    assert found is not None
    rows = query(
        engines,
        "SELECT i.email, i.role, t.token_hash FROM org_invitations AS i"
        " JOIN email_action_tokens AS t ON t.invitation_id = i.id WHERE i.org_id = $1",
        world.org_id,
    )
    assert [tuple(row) for row in rows] == [
        ("mina@pug.test", "ORG_ROLE_VIEWER", hash_of(found.group(1)))
    ]
    [entry] = query(
        engines,
        "SELECT actor_kind, action, details::text FROM audit_entries WHERE org_id = $1",
        world.org_id,
    )
    assert tuple(entry)[:2] == ("operator", "org.invitation.create")
    assert found.group(1) not in entry["details"]


def test_invite_again(run: Run, world: World):
    status, out, _ = run("org", "invite", world.org_id, "mina@pug.test", "--json")
    first = msgspec.json.decode(out, type=ShownInvitation)
    status, _, error = run("org", "invite", world.org_id, "MINA@pug.test")
    assert (status, "--again" in error) == (1, True)
    status, out, _ = run("org", "invite", world.org_id, "MINA@pug.test", "--again", "--json")
    second = msgspec.json.decode(out, type=ShownInvitation)
    assert status == 0
    assert (second.id, second.mailed) == (first.id, False)
    assert second.link != first.link
    assert second.link is not None


@pytest.mark.parametrize("address", ["mina", "mina@", "a b@pug.test", f"{'a' * 250}@pug.test"])
def test_bad_addresses(run: Run, world: World, address: str):
    status, _, error = run("org", "invite", world.org_id, address)
    assert (status, "e-mail address" in error) == (2, True)


def test_members_are_not_invited(run: Run, world: World):
    status, _, error = run("org", "invite", world.org_id, world.email.upper())
    assert (status, "member already" in error) == (1, True)
    status, _, error = run("org", "invite", world.org_id, "nobody@pug.test", "--again")
    assert (status, "no such invitation" in error) == (1, True)
