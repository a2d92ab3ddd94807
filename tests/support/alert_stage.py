"""Alerts on real stores: a project with events, its people, the scheduler's job and the courier.

Invariant: calls go through the served API; evaluating and sending are the product's own, only the
test says when, and time stands still until it is moved.
"""

import base64
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from protobuf import Message

from appliance.base.ids import IdMaker
from appliance.config.alerts import AlertSettings
from appliance.config.endpoints import ClickHouseEndpoint, resolve_endpoints
from appliance.config.model import Settings
from appliance.config.people import EmailSettings
from appliance.config.secrets import Secret
from appliance.domain.access.roles import Role
from appliance.gen.appliance.alerts.v1 import alerts_pb as pb
from appliance.gen.common.v1.filters_pb import EventFilter
from appliance.gen.shared.insights.v1.insights_pb import (
    EventQuery,
    Granularity,
    InsightQuerySpec,
    InsightType,
)
from appliance.services.jobs.alerts import evaluate_alerts
from appliance.services.jobs.desk import Desk, NoMailer, Reminder
from appliance.services.jobs.leadership import Leadership
from appliance.services.wiring import Services
from appliance.storage.clickhouse.inserts import INSERT_SETTINGS
from appliance.storage.migrate import migrate_clickhouse
from appliance.workers.alerts import make_courier
from tests.support.clocks import FixedClock
from tests.support.control import ControlStack, Person, Refusal, control_stack
from tests.support.pipeline import encode, make_events

SERVICE = "appliance.alerts.v1.AlertsService"
_EVENTS: dict[Path, ClickHouseEndpoint] = {}
"""Making one takes longer than most tests; projects keep them apart."""
MAIL_KEY = Secret(base64.b64encode(bytes(range(32))).decode())
SEEN = InsightQuerySpec(
    insight_type=InsightType.SEGMENTATION, events=[EventQuery(event=EventFilter(kind="seen"))]
)


def alert_settings(
    engines: Settings, *hosts: str, email: EmailSettings | None = None, ca_file: Path | None = None
) -> Settings:
    """Settings with webhooks to these hosts and, if given, a mail provider."""
    chosen = msgspec.structs.replace(email or EmailSettings(), provider_secret_key=MAIL_KEY)
    return Settings(
        data_dir=engines.data_dir,
        email=chosen,
        alerts=AlertSettings(webhook_hosts=hosts, ca_file=ca_file),
    )


def condition(comparison: str, amount: float, unit: str = "VALUE") -> pb.Condition:
    """A condition by the names of its enums."""
    return pb.Condition(comparison=pb.Comparison[comparison], amount=amount, unit=pb.Unit[unit])


def content(**fields: Any) -> pb.AlertContent:
    """An alert on seen events of the last whole day, above ten, unless said otherwise."""
    chosen: dict[str, Any] = {
        "display_name": "Too many",
        "enabled": True,
        "spec": SEEN,
        "window": pb.Window(granularity=Granularity.DAY, periods=1),
        "condition": condition("ABOVE", 10),
        "frequency": pb.Frequency.EVERY_5_MINUTES,
    }
    return pb.AlertContent(**(chosen | fields))


def make_desk(services: Services, clock: FixedClock, *, holder: str = "a") -> Desk:
    """What the scheduler's jobs work with."""

    @asynccontextmanager
    async def quiet() -> AsyncGenerator[None]:
        yield

    async def look_around() -> Sequence[Reminder]:
        return ()

    return Desk(
        lead=Leadership(services.stores.postgres, clock, holder=holder),
        stores=services.stores,
        clock=clock,
        ids=IdMaker(clock),
        mailer=NoMailer(),
        quiet=quiet,
        look_around=look_around,
        meter=None,
        audit_seconds=1.0,
        insights=services.insights,
    )


class AlertStage:
    """A project with a member, and all that alerts need."""

    def __init__(
        self, control: ControlStack, settings: Settings, *, org: str, project: str, member: Person
    ) -> None:
        self.control = control
        self.settings = settings
        self.org = org
        self.project = project
        self.member = member
        self.clock = control.clock
        self.desk = make_desk(control.services, control.clock)
        self.courier = make_courier(control.services, settings, control.clock)

    async def call(
        self, method: str, message: Message[Any], *, who: Person | None = None, form: str = "proto"
    ) -> Any:
        """Call the alerts of the project, as the member or as somebody else."""
        return await self.control.call(
            f"{SERVICE}/{method}",
            message,
            token=self.control.services.control.tokens.issue((who or self.member).id),
            project=self.project,
            form=form,
        )

    async def refused(
        self, method: str, message: Message[Any], *, who: Person | None = None
    ) -> Refusal:
        """What a call is refused with."""
        with pytest.raises(Refusal) as caught:
            await self.call(method, message, who=who)
        return caught.value

    async def make(self, **fields: Any) -> pb.Alert:
        """A kept alert."""
        made = await self.call("Create", pb.CreateRequest(content=content(**fields)))
        alert: pb.Alert = made.alert
        return alert

    async def get(self, alert_id: str) -> pb.Alert:
        """An alert as it is told now."""
        told: pb.Alert = (await self.call("Get", pb.GetRequest(id=alert_id))).alert
        return told

    async def firings(self, alert_id: str = "") -> list[pb.Firing]:
        """The firings, newest first."""
        request = pb.ListFiringsRequest(alert_id=alert_id)
        return list((await self.call("ListFirings", request)).firings)

    async def store(self, count: int, at: datetime, *, kind: str = "seen", seed: int = 0) -> None:
        """Events of one kind at one instant."""
        rows = [
            row | {"project_id": self.project, "kind": kind, "occur_time": f"{at:%F %T}.000"}
            for row in make_events(count, seed=seed)
        ]
        events = self.control.services.stores.clickhouse
        await events.insert_ndjson("events", [encode(rows)], INSERT_SETTINGS)

    async def go_to(self, at: datetime) -> None:
        """Move the clock forward."""
        self.clock.advance((at - self.clock.now()).total_seconds())

    async def evaluate(self) -> str:
        """One run of the scheduler's job."""
        if not self.desk.lead.leads:
            assert await self.desk.lead.take()
        return await evaluate_alerts(self.desk)

    async def deliver(self) -> int:
        """Send what is due; how many attempts that were."""
        count = 0
        while sent := await self.courier.deliver_due():
            count += sent
        return count


async def shared_events(engines: Settings) -> ClickHouseEndpoint:
    """The event store of all stages on these engines; it goes with them."""
    if engines.data_dir not in _EVENTS:
        found = resolve_endpoints(engines).clickhouse
        made = msgspec.structs.replace(found, database=f"alerts{uuid.uuid4().hex[:8]}")
        await migrate_clickhouse(made, lambda _name: None)
        _EVENTS[engines.data_dir] = made
    return _EVENTS[engines.data_dir]


@asynccontextmanager
async def alert_stage(
    engines: Settings, settings: Settings, clock: FixedClock | None = None
) -> AsyncGenerator[AlertStage]:
    """A stage on stores of its own in running engines."""
    events = await shared_events(engines)
    async with control_stack(engines, settings, clock, events=events) as control:
        org = await control.make_org()
        member = await control.make_member(Role.MEMBER, org)
        project = await control.make_project(org)
        yield AlertStage(control, settings, org=org, project=project, member=member)
