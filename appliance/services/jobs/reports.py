"""The weekly report of each project, to whoever subscribed.

Invariant: a report is a run of its own in the record of jobs, named after project and subscriber,
so it is sent once for each week, repeated alone when it failed, and everybody can see what became
of it. A week is the project's own, from Monday to Monday in its time zone.
"""

from datetime import time
from typing import Final

from appliance.base.errors import ApplianceError, UnavailableError
from appliance.domain.report import WeekNumbers, WeekReport, report_letter
from appliance.domain.schedule import (
    LastRun,
    Outcome,
    PlannedRun,
    Weekday,
    Weekly,
    find_zone,
    plan_run,
    week_before,
)
from appliance.services.jobs.desk import Desk
from appliance.storage.clickhouse.report import load_week
from appliance.storage.postgres.jobs import LEASE_LOST, begin_run, end_run, load_last_runs
from appliance.storage.postgres.reports import Subscription, list_subscriptions

HOUR: Final = time(7)
PAGE_ROWS: Final = 200
SUBSCRIPTIONS_MAX: Final = 20_000
ATTEMPTS_MAX: Final = 5
"""Of one report: an address that refuses mails for good is not asked all week."""
RUNS_KEPT: Final = ATTEMPTS_MAX + 1
_REASONS_MAX: Final = 3


class Courier:
    """Brings the reports of one run of the job; numbers are counted once for each project."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._numbers: dict[str, WeekNumbers] = {}
        self.sent = 0
        self.failures: list[str] = []

    async def deliver_page(self, page: tuple[Subscription, ...]) -> None:
        """Send what is due of a page of subscriptions."""
        last = await load_last_runs(self._desk.stores.postgres, [run_name(one) for one in page])
        for one in page:
            schedule = Weekly(Weekday.MONDAY, HOUR, one.timezone)
            before = last.get(run_name(one))
            planned = plan_run(schedule, before, self._desk.clock.now())
            if planned is None or planned.due_at <= one.created_at or _given_up(before, planned):
                continue
            await self._deliver(one, planned)

    async def _deliver(self, one: Subscription, planned: PlannedRun) -> None:
        desk = self._desk
        name, started_at = run_name(one), desk.clock.now()
        async with desk.lead.fenced() as transaction:
            await begin_run(
                transaction,
                name=name,
                started_at=started_at,
                due_at=planned.due_at,
                leader=desk.lead.holder,
            )
        outcome, detail = Outcome.OK, "sent"
        try:
            await self._send(one, planned)
            self.sent += 1
        except ApplianceError as error:
            if error.reason == LEASE_LOST:
                raise
            outcome, detail = Outcome.FAILED, f"{error.reason}: {error.message}"
            self.failures.append(detail)
        async with desk.lead.fenced() as transaction:
            await end_run(
                transaction,
                name=name,
                started_at=started_at,
                ended_at=desk.clock.now(),
                outcome=outcome,
                detail=detail,
                keep=RUNS_KEPT,
            )

    async def _send(self, one: Subscription, planned: PlannedRun) -> None:
        start, end = week_before(planned.due_at, one.timezone)
        before, _ = week_before(start, one.timezone)
        numbers = self._numbers.get(one.project_id)
        if numbers is None:
            numbers = await load_week(
                self._desk.stores.clickhouse, one.project_id, before=before, start=start, end=end
            )
            self._numbers = {one.project_id: numbers}
        monday = start.astimezone(find_zone(one.timezone)).date()
        report = WeekReport(
            project_name=one.project_name,
            monday=monday,
            zone=one.timezone,
            numbers=numbers,
            dashboard_url=self._desk.dashboard_url,
        )
        await self._desk.mailer.send(
            one.email,
            report_letter(report),
            dispatch_id=f"{run_name(one)}:{monday.isoformat()}",
        )


async def send_weekly_reports(desk: Desk) -> str:
    """Send every report whose Monday has come.

    Raises UnavailableError when some could not be sent; they are tried again alone.
    """
    if not await desk.mailer.is_ready():
        return "there is no mail provider, so nobody gets a report"
    courier = Courier(desk)
    seen, after = 0, ("", "")
    while seen < SUBSCRIPTIONS_MAX:
        page = await list_subscriptions(desk.stores.postgres, after=after, limit=PAGE_ROWS)
        if not page:
            break
        await courier.deliver_page(page)
        seen += len(page)
        after = (page[-1].project_id, page[-1].customer_id)
    if courier.failures:
        reasons = "; ".join(sorted(set(courier.failures))[:_REASONS_MAX])
        raise UnavailableError(
            "REPORTS_UNSENT",
            f"{len(courier.failures)} reports could not be sent, {courier.sent} were ({reasons})",
        )
    return f"sent {courier.sent} reports to {seen} subscriptions"


def _given_up(before: LastRun | None, planned: PlannedRun) -> bool:
    return (
        before is not None and before.due_at == planned.due_at and before.failures >= ATTEMPTS_MAX
    )


def run_name(one: Subscription) -> str:
    """The name under which the reports of a subscription are recorded."""
    return f"report:{one.project_id}:{one.customer_id}"
