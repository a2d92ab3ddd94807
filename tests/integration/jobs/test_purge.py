"""What is purged, and above all what is not yet."""

import hashlib
from datetime import datetime, timedelta

import pytest

from appliance.base.errors import ApplianceError, ConflictError
from appliance.domain.access.callers import Actor, ActorKind
from appliance.services.audit import AuditLog
from appliance.services.jobs import purge
from appliance.services.jobs.purge import purge_audit_log, purge_expired
from appliance.storage.postgres.audit_export import AuditFilter, export_pages, list_newest
from tests.support.jobs import JobStage

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def add_invitation(
    stage: JobStage, org: str, expires_at: datetime, status: str = "PENDING"
) -> str:
    invitation = stage.ids.make()
    await stage.database.execute(
        "INSERT INTO org_invitations (id, org_id, email, token, expire_time, status)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        *(invitation, org, f"{invitation}@pug.test", invitation, expires_at),
        f"INVITATION_STATUS_{status}",
    )
    return invitation


async def add_token(stage: JobStage, expires_at: datetime, invitation: str | None = None) -> str:
    token = stage.ids.make()
    await stage.database.execute(
        "INSERT INTO email_action_tokens"
        " (id, email, purpose, token_hash, invitation_id, expire_time)"
        " VALUES ($1, 'a@pug.test', $2, $3, $4, $5)",
        *(token, "org_invite" if invitation else "magic_link", digest(token)),
        *(invitation, expires_at),
    )
    return token


async def add_session(stage: JobStage, customer: str, expires_at: datetime) -> str:
    session = stage.ids.make()
    await stage.database.execute(
        "INSERT INTO refresh_tokens (id, customer_id, family_id, token_hash, expire_time,"
        " consume_time) VALUES ($1, $2, $1, $3, $4, $5)",
        *(session, customer, digest(session), expires_at, stage.clock.now()),
    )
    return session


async def ids(stage: JobStage, table: str) -> set[str]:
    rows = await stage.database.rows(f"SELECT id FROM {table}")  # pyright: ignore[reportArgumentType] names of this test
    return {str(row["id"]) for row in rows}


async def test_tokens_and_sessions(stage: JobStage) -> None:
    """Links and sessions go a week after their end; a session that was consumed but could still be
    presented stays, because it must end its family then."""
    now = stage.clock.now()
    customer = await stage.make_member(await stage.make_org())
    kept = {await add_token(stage, now - timedelta(days=6)), await add_token(stage, now)}
    await add_token(stage, now - timedelta(days=8))
    sessions = {await add_session(stage, customer, now + timedelta(days=1))}
    await add_session(stage, customer, now - timedelta(days=8))
    desk = stage.desk(await stage.leading())
    assert await purge_expired(desk) == "purged 1 mailed links, 1 sessions"
    assert await ids(stage, "email_action_tokens") == kept
    assert await ids(stage, "refresh_tokens") == sessions
    assert await purge_expired(desk) == "nothing to purge"


async def test_invitations(stage: JobStage) -> None:
    """An expired invitation can be sent again for half a year; an accepted one is history."""
    now = stage.clock.now()
    org = await stage.make_org()
    kept = {
        await add_invitation(stage, org, now - timedelta(days=179)),
        await add_invitation(stage, org, now + timedelta(days=7)),
        await add_invitation(stage, org, now - timedelta(days=900), "ACCEPTED"),
    }
    gone = await add_invitation(stage, org, now - timedelta(days=181))
    await add_token(stage, now - timedelta(days=1), gone)
    await purge_expired(stage.desk(await stage.leading()))
    assert await ids(stage, "org_invitations") == kept
    assert await ids(stage, "email_action_tokens") == set()


async def test_guards_and_sends(stage: JobStage) -> None:
    """What limits somebody now is not forgotten."""
    now = stage.clock.now()
    invitation = await add_invitation(stage, await stage.make_org(), now)
    for name, began, until in (
        ("old", now - timedelta(days=8), None),
        ("locked", now - timedelta(days=8), now + timedelta(hours=1)),
        ("recent", now - timedelta(days=6), None),
    ):
        await stage.database.execute(
            "INSERT INTO sign_in_guards (scope, subject_hash, failures, window_start, locked_until)"
            " VALUES ('account', $1, 3, $2, $3)",
            *(digest(name), began, until),
        )
    for hours in (1, 23, 49):
        await stage.database.execute(
            "INSERT INTO org_invitation_sends (id, invitation_id, send_time) VALUES ($1, $2, $3)",
            *(stage.ids.make(), invitation, now - timedelta(hours=hours)),
        )
    await purge_expired(stage.desk(await stage.leading()))
    rows = await stage.database.rows("SELECT subject_hash FROM sign_in_guards")
    assert {row["subject_hash"] for row in rows} == {digest("locked"), digest("recent")}
    assert await stage.count("org_invitation_sends") == 2


async def test_pages(stage: JobStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purge of any size is made of bounded transactions."""
    monkeypatch.setattr(purge, "PAGE_ROWS", 3)
    for _ in range(10):
        await add_token(stage, stage.clock.now() - timedelta(days=30))
    assert await purge_expired(stage.desk(await stage.leading())) == "purged 10 mailed links"


async def test_not_the_leader(stage: JobStage) -> None:
    """A purge by a leader that lost its lease takes nothing away."""
    await add_token(stage, stage.clock.now() - timedelta(days=30))
    lead = await stage.leading("a")
    stage.clock.advance(21)
    await stage.leading("b")
    lead._trusted_until = float("inf")
    with pytest.raises(ConflictError):
        await purge_expired(stage.desk(lead))
    assert await stage.count("email_action_tokens") == 1


async def record(stage: JobStage, action: str, *, org: str = "", project: str = "") -> None:
    log = AuditLog(stage.clock, stage.ids)
    actor = Actor(kind=ActorKind.OPERATOR, label="root", address="")
    async with stage.database.transaction() as transaction:
        await log.record(
            transaction, actor, action, org_id=org, project_id=project, details={"a": "b"}
        )


async def exported(stage: JobStage, wanted: AuditFilter, *, page_rows: int) -> list[str]:
    pages = [page async for page in export_pages(stage.database, wanted, page_rows=page_rows)]
    assert all(len(page) <= page_rows for page in pages)
    return [line.action for page in pages for line in page]


async def test_audit_retention(stage: JobStage) -> None:
    """Only the retention of the log deletes from it, and only what is old enough."""
    for day in range(5):
        await record(stage, f"day.{'abcde'[day]}")
        stage.clock.advance(100 * 86400)
    desk = stage.desk(await stage.leading())
    assert (await purge_audit_log(desk)).startswith("purged 1 entries of before 2026-0")
    assert await exported(stage, AuditFilter(), page_rows=2) == ["day.b", "day.c", "day.d", "day.e"]
    for statement in (
        "DELETE FROM audit_entries",
        "UPDATE audit_entries SET action = 'x.y'",
        "TRUNCATE audit_entries",
    ):
        with pytest.raises(ApplianceError):
            await stage.database.execute(statement)
    assert await stage.count("audit_entries") == 4


@pytest.mark.parametrize("page_rows", [1, 3, 100])
async def test_export(stage: JobStage, page_rows: int) -> None:
    """Pages of any size give every entry once, in order, also of one instant, while more come."""
    for _ in range(4):
        await record(stage, "user.create", org="o1")
    stage.clock.advance(60)
    start = stage.clock.now()
    await record(stage, "project.create", org="o1", project="p1")
    await record(stage, "project.key.create", org="o2", project="p2")
    await record(stage, "projects.other", org="o2")
    everything = [
        *["user.create"] * 4,
        *("project.create", "project.key.create", "projects.other"),
    ]
    assert await exported(stage, AuditFilter(), page_rows=page_rows) == everything
    for wanted, expected in (
        (AuditFilter(since=start), everything[4:]),
        (AuditFilter(until=start), everything[:4]),
        (AuditFilter(org_id="o2"), everything[5:]),
        (AuditFilter(project_id="p1"), ["project.create"]),
        (AuditFilter(action="project"), ["project.create", "project.key.create"]),
    ):
        assert await exported(stage, wanted, page_rows=page_rows) == expected
        newest = await list_newest(stage.database, wanted, limit=2)
        assert [line.action for line in newest] == expected[::-1][:2]
    [line] = await list_newest(stage.database, AuditFilter(), limit=1)
    assert (line.actor_kind, line.actor_label, line.details) == ("operator", "root", {"a": "b"})
