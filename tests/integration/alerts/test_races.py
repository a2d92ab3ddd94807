"""Two at once: couriers, a change under an evaluation, a leader that lost its lease."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import pytest

from appliance.base.errors import ConflictError
from appliance.config.model import Settings
from appliance.gen.appliance.alerts.v1 import alerts_pb as pb
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest, QueryResponse
from appliance.services.alerts.measuring import AskedProject, Insights
from appliance.services.jobs.alerts import evaluate_alerts
from appliance.storage.postgres.jobs import LEASE_LOST
from appliance.workers.alerts import make_courier
from tests.support.alert_stage import (
    AlertStage,
    alert_settings,
    alert_stage,
    condition,
    content,
    make_desk,
)
from tests.support.webhook_receiver import receiver

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

YESTERDAY = datetime(2026, 5, 9, 12, tzinfo=UTC)


class Interrupted:
    """The real insights, with something that happens before the answer is there, once."""

    def __init__(self, insights: Insights, happening: Callable[[], Awaitable[object]]) -> None:
        self._insights = insights
        self._happening: Callable[[], Awaitable[object]] | None = happening

    async def query(self, project: AskedProject, request: QueryRequest) -> QueryResponse:
        happening, self._happening = self._happening, None
        if happening is not None:
            await happening()
        return await self._insights.query(project, request)


async def interrupted(stage: AlertStage, happening: Callable[[], Awaitable[object]]) -> str:
    """A run of the job during which something happens."""
    insights = stage.desk.insights
    assert insights is not None
    desk = msgspec.structs.replace(stage.desk, insights=Interrupted(insights, happening))
    assert await desk.lead.take()
    return await evaluate_alerts(desk)


async def test_couriers_share_what_is_due(engines: Settings) -> None:
    """Several at once take different messages: each arrives once."""
    with receiver() as taken:
        settings = alert_settings(engines, "127.0.0.1")
        async with alert_stage(engines, settings) as stage:
            urls = [f"http://127.0.0.1:{taken.port}/{number}" for number in range(5)]
            await stage.make(webhooks=[pb.Webhook(url=url) for url in urls])
            await stage.store(11, YESTERDAY)
            await stage.evaluate()
            couriers = [make_courier(stage.control.services, settings, stage.clock)] * 4
            sent = await asyncio.gather(*(one.deliver_due() for one in couriers))
            assert sum(sent) == 5
            assert await stage.deliver() == 0
        assert sorted(post.path for post in taken.posts) == [f"/{number}" for number in range(5)]


async def test_a_change_under_an_evaluation_overtakes_it(engines: Settings) -> None:
    """What was asked before the change says nothing about the alert as it is now."""
    async with alert_stage(engines, alert_settings(engines)) as stage:
        await stage.store(11, YESTERDAY)
        alert = await stage.make()
        higher = content(condition=condition("ABOVE", 100))
        request = pb.UpdateRequest(id=alert.id, content=higher)
        await interrupted(stage, lambda: stage.call("Update", request))
        assert await stage.firings() == []
        told = await stage.get(alert.id)
        assert (told.state, told.has_field("last")) == (pb.State.OK, False)
        assert await stage.evaluate() == "evaluated 1 alerts"


@pytest.mark.parametrize("act", ["Delete", "off"])
async def test_an_alert_that_goes_under_an_evaluation(engines: Settings, act: str) -> None:
    async with alert_stage(engines, alert_settings(engines)) as stage:
        await stage.store(11, YESTERDAY)
        alert = await stage.make()
        off = pb.UpdateRequest(id=alert.id, content=content(enabled=False))
        if act == "Delete":
            await interrupted(stage, lambda: stage.call("Delete", pb.DeleteRequest(id=alert.id)))
        else:
            await interrupted(stage, lambda: stage.call("Update", off))
        assert await stage.firings() == []


async def test_a_leader_that_lost_its_lease_decides_nothing(engines: Settings) -> None:
    """It slept while it asked; another leads by now, and tells alone."""
    async with alert_stage(engines, alert_settings(engines)) as stage:
        await stage.store(11, YESTERDAY)
        await stage.make(member_ids=[stage.member.id])
        other = make_desk(stage.control.services, stage.clock, holder="b")

        async def lose() -> None:
            stage.clock.advance(60)
            assert await other.lead.take()

        with pytest.raises(ConflictError) as caught:
            await interrupted(stage, lose)
        assert caught.value.reason == LEASE_LOST
        assert await stage.firings() == []
        assert await evaluate_alerts(other) == "evaluated 1 alerts: 1 fired"
        (firing,) = await stage.firings()
        assert len(firing.deliveries) == 1
