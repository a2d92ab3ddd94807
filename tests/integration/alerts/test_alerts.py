"""An alert from its making to its firings: states, windows, failures, people, projects."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from appliance.base.errors import UnavailableError
from appliance.config.model import Settings
from appliance.domain.access.roles import Role
from appliance.gen.appliance.alerts.v1 import alerts_pb as pb
from appliance.gen.common.v1.filters_pb import EventFilter
from appliance.gen.shared.insights.v1 import insights_pb
from appliance.services.alerts.measuring import AskedProject
from appliance.services.jobs.alerts import evaluate_alerts
from appliance.services.jobs.purge import purge_expired
from appliance.storage.streams.publish import EVENTS_STREAM, EVENTS_SUBJECT
from tests.support.alert_stage import (
    SEEN,
    alert_settings,
    alert_stage,
    condition,
    content,
)
from tests.support.clocks import FixedClock
from tests.support.mail_stage import relay_settings
from tests.support.smtp_server import smtp_server

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def test_each_change_is_told_once(engines: Settings, tmp_path: Path) -> None:
    """Ok, firing while it holds, over: one mail for the beginning, one for the end."""
    with smtp_server(tmp_path) as relay:
        settings = alert_settings(engines, email=relay_settings(relay))
        async with alert_stage(engines, settings) as stage:
            alert = await stage.make(member_ids=[stage.member.id])
            await stage.store(11, at("2026-05-09T12:00"))
            assert await stage.evaluate() == "evaluated 1 alerts: 1 fired"
            assert await stage.deliver() == 1
            for _ in range(3):
                stage.clock.advance(300)
                assert await stage.evaluate() == "evaluated 1 alerts"
                assert await stage.deliver() == 0
            told = await stage.get(alert.id)
            assert told.state is pb.State.FIRING
            assert told.last is not None
            assert told.last.value == 11
            assert told.last.window_end is not None
            assert told.last.window_end.to_datetime() == at("2026-05-10T00:00")
            await stage.go_to(at("2026-05-11T09:30"))
            assert await stage.evaluate() == "evaluated 1 alerts: 1 resolved"
            assert await stage.deliver() == 1
            assert await stage.deliver() == 0
            (firing,) = await stage.firings(alert.id)
            assert firing.end_cause == "resolved"
            assert firing.started_with is not None
            assert firing.ended_with is not None
            assert (firing.started_with.value, firing.ended_with.value) == (11, 0)
            states = [(one.act, one.state, one.attempts) for one in firing.deliveries]
            sent = pb.DeliveryState.SENT
            assert states == [(pb.Act.FIRED, sent, 1), (pb.Act.RESOLVED, sent, 1)]
            assert (await stage.get(alert.id)).state is pb.State.OK
        first, second = relay.mails()
    assert first.recipients == second.recipients == [stage.member.email]
    assert "Alert: Too many" in str(first.message["subject"])
    assert "Over: Too many" in str(second.message["subject"])
    assert "above 10" in first.text
    assert "Value: 11" in first.text
    assert firing.deliveries[0].delivery_id in str(first.message["message-id"])


async def test_a_half_filled_day_does_not_fire_below(engines: Settings) -> None:
    """Today has fewer events so far than any whole day; only whole days are looked at."""
    async with alert_stage(engines, alert_settings(engines)) as stage:
        await stage.store(20, at("2026-05-09T12:00"))
        await stage.store(1, at("2026-05-10T08:00"), seed=1)
        alert = await stage.make(condition=condition("BELOW", 10))
        assert await stage.evaluate() == "evaluated 1 alerts"
        await stage.go_to(at("2026-05-11T00:01"))
        assert await stage.evaluate() == "evaluated 1 alerts"
        assert (await stage.get(alert.id)).state is pb.State.OK
        await stage.go_to(at("2026-05-11T00:07"))
        assert await stage.evaluate() == "evaluated 1 alerts: 1 fired"


async def test_nothing_is_judged_while_events_wait(engines: Settings) -> None:
    """Events in the queue would make a number look low: the job fails and is tried again."""
    clock = FixedClock(datetime(2030, 5, 10, 9, 30, tzinfo=UTC))
    async with alert_stage(engines, alert_settings(engines), clock) as stage:
        alert = await stage.make(condition=condition("BELOW", 10))
        stores = stage.control.services.stores
        jetstream = await stores.streams.jetstream()
        await jetstream.purge_stream(EVENTS_STREAM)
        await stores.publisher.publish(EVENTS_SUBJECT, b"{}", message_id=None, headers={})
        with pytest.raises(UnavailableError) as caught:
            await stage.evaluate()
        assert caught.value.reason == "EVENTS_BEHIND"
        assert not (await stage.get(alert.id)).has_field("last")
        await jetstream.purge_stream(EVENTS_STREAM)
        assert await stage.evaluate() == "evaluated 1 alerts: 1 fired"


@pytest.mark.parametrize("unit", ["PERCENT", "VALUE"])
async def test_change_against_the_period_before(engines: Settings, unit: str) -> None:
    async with alert_stage(engines, alert_settings(engines)) as stage:
        await stage.store(10, at("2026-05-08T12:00"))
        await stage.store(5, at("2026-05-09T12:00"), seed=1)
        falls = await stage.make(condition=condition("FALL", 50 if unit == "PERCENT" else 5, unit))
        rises = await stage.make(condition=condition("RISE", 1, unit))
        assert await stage.evaluate() == "evaluated 2 alerts: 1 fired"
        told = await stage.get(falls.id)
        assert told.state is pb.State.FIRING
        assert told.last is not None
        assert (told.last.value, told.last.baseline) == (5, 10)
        assert (await stage.get(rises.id)).state is pb.State.OK


def funnel(*kinds: str) -> insights_pb.InsightQuerySpec:
    events = [insights_pb.EventQuery(event=EventFilter(kind=kind)) for kind in kinds]
    return insights_pb.InsightQuerySpec(insight_type=insights_pb.InsightType.FUNNEL, events=events)


async def test_every_kind_of_number(engines: Settings) -> None:
    """Trend, segmentation, sessions, ranking, map: one number each; an empty funnel has none."""
    kinds = insights_pb.InsightType
    top_k = insights_pb.TopKQuery(dimension=insights_pb.TopKQuery.Dimension.EVENT_KIND, limit=1)
    session = insights_pb.SessionQuery(metric=insights_pb.SessionMetric.SESSIONS)
    specs = {
        "trends": insights_pb.InsightQuerySpec(insight_type=kinds.TRENDS, events=SEEN.events),
        "segmentation": SEEN,
        "top_k": insights_pb.InsightQuerySpec(insight_type=kinds.TOP_K, top_k=top_k),
        "sessions": insights_pb.InsightQuerySpec(insight_type=kinds.TRENDS, session=session),
        "map": insights_pb.InsightQuerySpec(insight_type=kinds.MAP, map=insights_pb.MapQuery()),
        "funnel": funnel("nobody", "nothing"),
    }
    async with alert_stage(engines, alert_settings(engines)) as stage:
        await stage.store(6, at("2026-05-09T12:00"))
        await stage.store(3, at("2026-05-09T13:00"), kind="bought", seed=1)
        found: dict[str, float | None] = {}
        for name, spec in specs.items():
            alert = await stage.make(display_name=name, spec=spec)
            tried = await stage.call("Test", pb.TestRequest(id=alert.id))
            evaluation = tried.evaluation
            found[name] = evaluation.value if evaluation.has_field("value") else None
        assert found["trends"] == found["segmentation"] == 6
        assert found["top_k"] == 9
        assert found["sessions"]
        assert found["map"] is not None
        assert found["funnel"] is None
        assert await stage.evaluate() == "evaluated 6 alerts"


async def test_a_failing_evaluation_is_recorded_and_told_nobody(engines: Settings) -> None:
    """It stands with the alert, is tried again soon, changes no state, and ends when it works."""
    async with alert_stage(engines, alert_settings(engines)) as stage:
        alert = await stage.make(member_ids=[stage.member.id], frequency=pb.Frequency.DAILY)
        database = stage.control.database
        (question,) = await database.rows("SELECT question::text AS q FROM alerts")
        await database.execute("""UPDATE alerts SET question = '{"insightType": "X"}'""")
        for failures in (1, 2):
            told = await stage.evaluate()
            assert told == "evaluated 1 alerts: 1 failed (ALERT_QUESTION_UNREADABLE)"
            (row,) = await database.rows("SELECT failures, problem_reason, next_time FROM alerts")
            assert row["failures"] == failures
            assert row["next_time"] <= stage.clock.now() + timedelta(minutes=2)  # type: ignore[operator] a time
            stage.clock.advance(300)
        await database.execute("UPDATE alerts SET question = $1::text::jsonb", question["q"])
        assert await stage.evaluate() == "evaluated 1 alerts"
        told_now = await stage.get(alert.id)
        assert not told_now.has_field("problem")
        assert told_now.next_time is not None
        assert told_now.next_time.to_datetime() == at("2026-05-11T07:02")
        assert await stage.firings() == []
        assert await stage.deliver() == 0


class Away:
    """An event store that does not answer."""

    async def query(
        self, _project: AskedProject, _request: insights_pb.QueryRequest
    ) -> insights_pb.QueryResponse:
        raise UnavailableError("UNAVAILABLE", "the event store does not answer")


async def test_a_store_that_is_away_ends_the_run(engines: Settings) -> None:
    """The run fails after one alert, which notes it; nobody waits for each of a hundred."""
    async with alert_stage(engines, alert_settings(engines)) as stage:
        for _ in range(3):
            await stage.make()
        desk = msgspec.structs.replace(stage.desk, insights=Away())
        assert await desk.lead.take()
        with pytest.raises(UnavailableError):
            await evaluate_alerts(desk)
        told = (await stage.call("List", pb.ListRequest())).alerts
        assert [one.problem.reason if one.problem else "" for one in told] == [
            *("UNAVAILABLE", "", "")
        ]
        assert await stage.evaluate() == "evaluated 2 alerts"
        stage.clock.advance(60)
        assert await stage.desk.lead.take()
        assert await stage.evaluate() == "evaluated 1 alerts"


async def test_a_change_begins_anew(engines: Settings) -> None:
    """What asks something else is ok until it was looked at; the open firing ends quietly."""
    async with alert_stage(engines, alert_settings(engines)) as stage:
        await stage.store(11, at("2026-05-09T12:00"))
        alert = await stage.make()
        await stage.evaluate()
        renamed = content(display_name="Other name", frequency=pb.Frequency.HOURLY)
        await stage.call("Update", pb.UpdateRequest(id=alert.id, content=renamed))
        assert (await stage.get(alert.id)).state is pb.State.FIRING
        higher = content(condition=condition("ABOVE", 100))
        told = (await stage.call("Update", pb.UpdateRequest(id=alert.id, content=higher))).alert
        assert told.state is pb.State.OK
        assert not told.has_field("last")
        (firing,) = await stage.firings()
        assert (firing.end_cause, firing.has_field("ended_with")) == ("changed", False)
        assert await stage.evaluate() == "evaluated 1 alerts"
        lower = content(condition=condition("ABOVE", 5))
        await stage.call("Update", pb.UpdateRequest(id=alert.id, content=lower))
        assert await stage.evaluate() == "evaluated 1 alerts: 1 fired"
        off = content(condition=condition("ABOVE", 5), enabled=False)
        await stage.call("Update", pb.UpdateRequest(id=alert.id, content=off))
        assert [one.end_cause for one in await stage.firings()] == ["disabled", "changed"]
        stage.clock.advance(3600)
        assert await stage.evaluate() == "no alert is due"
        await stage.call("Delete", pb.DeleteRequest(id=alert.id))
        assert await stage.firings() == []
        actions = await stage.control.audit_actions()
        assert actions == ["alert.create", *["alert.update"] * 4, "alert.delete"]


async def test_missed_runs_are_made_up_for_once(engines: Settings) -> None:
    """After a day without a scheduler each alert is evaluated once, of the newest buckets."""
    async with alert_stage(engines, alert_settings(engines)) as stage:
        await stage.make()
        await stage.evaluate()
        await stage.store(11, at("2026-05-12T12:00"))
        await stage.go_to(at("2026-05-13T09:30"))
        assert await stage.evaluate() == "evaluated 1 alerts: 1 fired"
        assert await stage.evaluate() == "no alert is due"


async def test_roles_and_projects(engines: Settings) -> None:
    """Viewers read; nobody sees, changes or fires what belongs to another project."""
    async with alert_stage(engines, alert_settings(engines)) as stage:
        alert = await stage.make()
        viewer = await stage.control.make_member(Role.VIEWER, stage.org)
        assert (await stage.call("Get", pb.GetRequest(id=alert.id), who=viewer)).alert.id
        for method, message in (
            ("Create", pb.CreateRequest(content=content())),
            ("Update", pb.UpdateRequest(id=alert.id, content=content())),
            ("Delete", pb.DeleteRequest(id=alert.id)),
            ("Test", pb.TestRequest(id=alert.id)),
        ):
            refusal = await stage.refused(method, message, who=viewer)
            assert refusal.reason == "ORG_ROLE_FORBIDDEN"
        mine, stage.project = stage.project, await stage.control.make_project(stage.org, "Other")
        await stage.store(50, at("2026-05-09T12:00"))
        for method, message in (
            ("Get", pb.GetRequest(id=alert.id)),
            ("Update", pb.UpdateRequest(id=alert.id, content=content())),
            ("Delete", pb.DeleteRequest(id=alert.id)),
            ("Test", pb.TestRequest(id=alert.id, send=True)),
        ):
            assert (await stage.refused(method, message)).reason == "ALERT_NOT_FOUND"
        assert (await stage.call("List", pb.ListRequest())).alerts == []
        assert await stage.firings(alert.id) == []
        stage.project = mine
        assert await stage.evaluate() == "evaluated 1 alerts"
        told = await stage.get(alert.id)
        assert told.last is not None
        assert told.last.value == 0


async def test_what_is_refused_when_it_is_made(engines: Settings) -> None:
    stranger_free = alert_settings(engines, "hooks.example")
    async with alert_stage(engines, stranger_free) as stage:
        stranger = await stage.control.make_member(Role.ADMIN)
        minutes = pb.Window(granularity=insights_pb.Granularity.MINUTE, periods=181)
        retention = insights_pb.InsightQuerySpec(
            insight_type=insights_pb.InsightType.RETENTION, events=SEEN.events
        )
        cases = {
            "ORG_MEMBER_NOT_FOUND": content(member_ids=[stranger.id]),
            "WEBHOOK_HOST_NOT_LISTED": content(webhooks=[pb.Webhook(url="http://10.0.0.1/")]),
            "INVALID_WEBHOOK_URL": content(webhooks=[pb.Webhook(url="ftp://hooks.example/")]),
            "INVALID_WEBHOOK": content(
                webhooks=[pb.Webhook(id="none", url="http://hooks.example/")]
            ),
            "INVALID_ALERT_QUESTION": content(spec=retention),
            "INVALID_ARGUMENT": content(window=minutes),
        }
        for reason, sent in cases.items():
            refusal = await stage.refused("Create", pb.CreateRequest(content=sent))
            assert refusal.reason == reason
        percent = content(condition=condition("ABOVE", 1, "PERCENT"))
        refusal = await stage.refused("Create", pb.CreateRequest(content=percent))
        assert refusal.fields
        assert (await stage.call("List", pb.ListRequest())).alerts == []
        assert await stage.control.audit_actions() == []


async def test_firings_are_purged_after_their_time(engines: Settings) -> None:
    """Ended firings go after ninety days, with their messages; an open one stays."""
    async with alert_stage(engines, alert_settings(engines)) as stage:
        await stage.store(11, at("2026-05-09T12:00"))
        ended = await stage.make(member_ids=[stage.member.id])
        await stage.evaluate()
        await stage.go_to(at("2026-05-11T09:30"))
        await stage.evaluate()
        await stage.store(11, at("2026-05-11T12:00"), seed=1)
        await stage.go_to(at("2026-05-12T09:30"))
        await stage.evaluate()
        assert len(await stage.firings(ended.id)) == 2
        await stage.go_to(at("2026-08-09T09:00"))
        assert await stage.desk.lead.take()
        await purge_expired(stage.desk)
        assert len(await stage.firings()) == 2
        await stage.go_to(at("2026-08-10T09:00"))
        assert await stage.desk.lead.take()
        assert "1 firings of alerts" in await purge_expired(stage.desk)
        (left,) = await stage.firings()
        assert not left.has_field("end_time")
