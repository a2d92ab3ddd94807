"""Weekly reports, reminders and erasures: who is told what, and how often."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.base.errors import NotFoundError, UnavailableError
from appliance.domain.access.callers import Actor, ActorKind
from appliance.gen.workers.compliance.v1.compliance_pb import EraseMessage
from appliance.services.audit import AuditLog
from appliance.services.jobs.desk import Reminder
from appliance.services.jobs.erasures import repeat_stuck_erasures
from appliance.services.jobs.mailing import find_mailer
from appliance.services.jobs.reminders import remind_operator
from appliance.services.jobs.reports import send_weekly_reports
from appliance.services.links import DashboardLinks
from appliance.services.mail.desk import make_delivery
from appliance.services.subscriptions import SubscriptionsService
from tests.support.jobs import JobStage, RecordingMailer
from tests.support.mail_stage import BASE_URL, relay_settings
from tests.support.pipeline import make_events
from tests.support.smtp_server import smtp_server

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OPERATOR = Actor(kind=ActorKind.OPERATOR, label="root")


def service(stage: JobStage) -> SubscriptionsService:
    return SubscriptionsService(stage.database, AuditLog(stage.clock, stage.ids), stage.clock)


async def test_report_reaches_a_mailbox(full_stage: JobStage, tmp_path: Path) -> None:
    """The operator's provider carries it: one mail with both forms, however often the job runs."""
    stage = full_stage
    org = await stage.make_org()
    project = await stage.make_project(org)
    await stage.make_member(org, "mina@pug.test")
    await go_to(stage, "2026-05-12T12:00")
    await service(stage).subscribe(OPERATOR, project_id=project, email="mina@pug.test")
    await go_to(stage, "2026-05-18T07:00")
    with smtp_server(tmp_path) as relay:
        email = relay_settings(relay)
        delivery = make_delivery(email, stage.database, DashboardLinks(BASE_URL), stage.clock)
        desk = stage.desk(await stage.leading(), mailer=find_mailer(email, delivery))
        assert await send_weekly_reports(desk) == "sent 1 reports to 1 subscriptions"
        await send_weekly_reports(desk)
        (mail,) = relay.mails()
    assert mail.recipients == ["mina@pug.test"]
    assert "Shop" in str(mail.message["subject"])
    assert "Shop" in mail.text
    assert "Shop" in mail.html


async def go_to(stage: JobStage, text: str) -> None:
    at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    stage.clock.advance((at - stage.clock.now()).total_seconds())


def event(at: str, number: int, **columns: object) -> dict[str, object]:
    [row] = make_events(1, seed=number)
    return {**row, "occur_time": f"{at}:00.000", "kind": "page_view", **columns}


async def test_numbers_and_zone(full_stage: JobStage) -> None:
    """The report has the numbers of the local week, beside those of the week before."""
    stage = full_stage
    org = await stage.make_org()
    project = await stage.make_project(org, "Šop <b>", timezone="Europe/Berlin")
    await stage.make_member(org, "mina@pug.test", "ORG_ROLE_VIEWER")
    await go_to(stage, "2026-05-12T12:00")
    await service(stage).subscribe(OPERATOR, project_id=project, email="MINA@pug.test")
    session = "00000000-0000-4000-8000-00000000000{}"
    rows = [
        # Monday 00:00 in Berlin is Sunday 22:00 UTC
        event("2026-05-10 22:00", 1, distinct_id="a", session_id=session.format(1)),
        event("2026-05-17 21:59", 2, distinct_id="b", session_id=session.format(2)),
        event("2026-05-12 10:00", 3, distinct_id="a", session_id=session.format(1)),
        event("2026-05-12 10:01", 4, distinct_id="cookieless-1", session_id=session.format(3)),
        event("2026-05-10 21:59", 5, distinct_id="a", session_id=session.format(4)),
        event("2026-05-17 22:00", 6, distinct_id="c", session_id=session.format(5)),
        event("2026-05-13 10:00", 7, distinct_id="b", session_id=session.format(2), kind="click"),
    ]
    for row in rows:
        row |= {"project_id": project, "pathname": "/a&b", "referrer_domain": "news.test"}
    await stage.insert(rows)
    await go_to(stage, "2026-05-18T04:59")
    lead = await stage.leading()
    assert await send_weekly_reports(stage.desk(lead)) == "sent 0 reports to 1 subscriptions"
    stage.clock.advance(60)
    assert await lead.take()
    assert await send_weekly_reports(stage.desk(lead)) == "sent 1 reports to 1 subscriptions"
    [(address, letter, dispatch)] = stage.mailer.sent
    assert address == "mina@pug.test"
    assert letter.subject == "Šop <b>: week of 2026-05-11"
    assert letter.text.splitlines()[:11] == [
        "Šop <b>, 2026-05-11 to 2026-05-17 (Europe/Berlin)",
        "",
        "People: 2 (+100 %)",
        "Sessions: 3 (+200 %)",
        "Page views: 4 (+300 %)",
        "Events: 5 (+400 %)",
        "",
        "Most viewed pages:",
        "  4  /a&b",
        "",
        "Where people came from:",
    ]
    assert "http://pug.test" in letter.text
    assert "<h1 style='font-size:20px'>Šop &lt;b&gt;</h1>" in letter.html
    assert "/a&amp;b (4)" in letter.html
    assert dispatch.endswith(":2026-05-11")
    assert await send_weekly_reports(stage.desk(lead)) == "sent 0 reports to 1 subscriptions"


async def test_subscriptions(stage: JobStage) -> None:
    """Members only; disabled people, deleted projects and former members get nothing; each act is
    in the audit log once."""
    org = await stage.make_org()
    project = await stage.make_project(org)
    customer = await stage.make_member(org, "a@pug.test")
    await stage.make_member(await stage.make_org(), "stranger@pug.test")
    reports = service(stage)
    assert await reports.subscribe(OPERATOR, project_id=project, email="a@pug.test")
    assert not await reports.subscribe(OPERATOR, project_id=project, email="a@pug.test")
    for email in ("stranger@pug.test", "nobody@pug.test"):
        with pytest.raises(NotFoundError):
            await reports.subscribe(OPERATOR, project_id=project, email=email)
    assert [one.email for one in await reports.list_subscriptions()] == ["a@pug.test"]
    for undo, redo in (
        (
            "UPDATE customers SET disable_time = create_time",
            "UPDATE customers SET disable_time = NULL",
        ),
        (
            "UPDATE projects SET delete_time = create_time",
            "UPDATE projects SET delete_time = NULL",
        ),
    ):
        await stage.database.execute(undo)
        assert await reports.list_subscriptions() == ()
        await stage.database.execute(redo)
    await stage.database.execute("DELETE FROM org_members WHERE customer_id = $1", customer)
    assert await reports.list_subscriptions() == ()
    await stage.database.execute(
        "INSERT INTO org_members (org_id, customer_id) VALUES ($1, $2)", org, customer
    )
    assert await reports.unsubscribe(OPERATOR, project_id=project, email="a@pug.test")
    assert not await reports.unsubscribe(OPERATOR, project_id=project, email="a@pug.test")
    rows = await stage.database.rows("SELECT action FROM audit_entries ORDER BY create_time, id")
    assert [row["action"] for row in rows] == ["report.subscribe", "report.unsubscribe"]


async def test_one_address_fails(full_stage: JobStage) -> None:
    """A report that could not be sent is tried again alone; nobody gets one twice."""
    stage = full_stage
    org = await stage.make_org()
    project = await stage.make_project(org)
    for email in ("a@pug.test", "b@pug.test", "c@pug.test"):
        await stage.make_member(org, email)
        await service(stage).subscribe(OPERATOR, project_id=project, email=email)
    await go_to(stage, "2026-05-11T07:00")
    stage.mailer.broken = {"b@pug.test"}
    lead = await stage.leading()
    with pytest.raises(UnavailableError, match="1 reports could not be sent, 2 were"):
        await send_weekly_reports(stage.desk(lead))
    stage.mailer.broken = set()
    stage.clock.advance(60)
    assert await lead.take()
    assert await send_weekly_reports(stage.desk(lead)) == "sent 1 reports to 3 subscriptions"
    assert sorted(address for address, _, _ in stage.mailer.sent) == [
        *("a@pug.test", "b@pug.test", "c@pug.test"),
    ]
    await go_to(stage, "2026-05-18T07:00")
    assert await lead.take()
    assert await send_weekly_reports(stage.desk(lead)) == "sent 3 reports to 3 subscriptions"


async def test_address_that_refuses(full_stage: JobStage) -> None:
    """After five attempts a report is given up; next week it is tried again."""
    stage = full_stage
    org = await stage.make_org()
    project = await stage.make_project(org)
    await stage.make_member(org, "a@pug.test")
    await service(stage).subscribe(OPERATOR, project_id=project, email="a@pug.test")
    stage.mailer.broken = {"a@pug.test"}
    lead = stage.lead()
    for day, attempts in ((11, 5), (18, 1)):
        await go_to(stage, f"2026-05-{day}T07:00")
        for _ in range(attempts):
            assert await lead.take()
            with pytest.raises(UnavailableError):
                await send_weekly_reports(stage.desk(lead))
            stage.clock.advance(3600)
        assert await lead.take()
        if attempts > 1:
            assert "sent 0 reports" in await send_weekly_reports(stage.desk(lead))
    assert stage.mailer.sent == []


async def test_late(full_stage: JobStage) -> None:
    """After three weeks of nobody the last whole week is reported, once."""
    stage = full_stage
    org = await stage.make_org()
    project = await stage.make_project(org)
    await stage.make_member(org, "a@pug.test")
    await service(stage).subscribe(OPERATOR, project_id=project, email="a@pug.test")
    await go_to(stage, "2026-06-03T12:00")
    lead = await stage.leading()
    assert await send_weekly_reports(stage.desk(lead)) == "sent 1 reports to 1 subscriptions"
    [(_, letter, _)] = stage.mailer.sent
    assert letter.subject == "Shop: week of 2026-05-25"


async def test_without_provider(stage: JobStage) -> None:
    """No provider is no failure."""
    desk = stage.desk(await stage.leading(), mailer=RecordingMailer(ready=False))
    assert "no mail provider" in await send_weekly_reports(desk)
    stage.reminders = [Reminder(check="certificate", cause="it ends", remedy="renew it")]
    assert await remind_operator(desk) == "it ends (0 mails)"


async def test_reminders(stage: JobStage) -> None:
    """Administrators of the first organisation are told once a week for each finding."""
    first = await stage.make_org()
    await stage.make_member(first, "admin@pug.test")
    await stage.make_member(first, "viewer@pug.test", "ORG_ROLE_VIEWER")
    stage.clock.advance(60)
    await stage.make_member(await stage.make_org(), "guest@pug.test")
    lead = await stage.leading()
    desk = stage.desk(lead)
    assert await remind_operator(desk) == "backups and certificate are well"
    stage.reminders = [
        Reminder(check="backup-age", cause="there is no backup", remedy="make <one>")
    ]
    assert await remind_operator(desk) == "there is no backup (1 mails)"
    assert await remind_operator(desk) == "there is no backup (0 mails)"
    [(address, letter, _)] = stage.mailer.sent
    assert address == "admin@pug.test"
    assert "make <one>" in letter.text
    assert "make &lt;one&gt;" in letter.html
    stage.clock.advance(7 * 86400)
    assert await lead.take()
    stage.reminders.append(Reminder(check="certificate", cause="it ends", remedy="renew it"))
    assert await remind_operator(desk) == "there is no backup; it ends (2 mails)"


async def add_erasure(
    stage: JobStage, project: str, status: str, at: datetime, kind: str = "erase"
) -> str:
    request = stage.ids.make()
    await stage.database.execute(
        "INSERT INTO compliance_requests (id, project_id, kind, profile_id, external_id, status,"
        " request_time, update_time, complete_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)",
        *(request, project, kind, request, f"x{request}", status, at),
        at if status == "completed" else None,
    )
    return request


async def test_stuck_erasures(full_stage: JobStage) -> None:
    """Open erasures without a change for an hour are asked for again; others are left alone."""
    stage = full_stage
    project = await stage.make_project(await stage.make_org())
    now = stage.clock.now()
    old = now - timedelta(minutes=61)
    stuck = {
        await add_erasure(stage, project, "pending", old),
        await add_erasure(stage, project, "processing", old),
    }
    await add_erasure(stage, project, "pending", now - timedelta(minutes=59))
    await add_erasure(stage, project, "completed", old)
    await add_erasure(stage, project, "failed", old)
    await add_erasure(stage, project, "pending", old, "export")
    jetstream = await stage.streams.jetstream()
    await jetstream.purge_stream("compliance")
    desk = stage.desk(await stage.leading())
    assert await repeat_stuck_erasures(desk) == "asked again for 2 erasures"
    last = (await jetstream.stream_info("compliance")).state.last_seq
    found: set[str] = set()
    for sequence in (last - 1, last):
        raw = await jetstream.get_msg("compliance", sequence)
        assert raw.subject == "compliance.erase"
        message = EraseMessage.from_binary(raw.data or b"")
        assert message.project_id == project
        assert message.external_id == f"x{message.profile_id}"
        found.add(message.request_id)
    assert found == stuck
