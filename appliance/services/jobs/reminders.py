"""Reminds the operator of what only a person can do: a missing backup, an expiring certificate.

Invariant: what is wrong is found by the same checks as `doctor`; it is told in the record of the
job each day and by mail to the administrators at most once a week for each check.
"""

from datetime import timedelta
from html import escape
from typing import Final

from appliance.domain.jobs import ALL_WELL
from appliance.domain.mail.letters import PRODUCT, Letter
from appliance.domain.schedule import Outcome
from appliance.services.jobs.desk import Desk, Reminder
from appliance.storage.postgres.jobs import begin_run, end_run, load_last_runs
from appliance.storage.postgres.reports import list_admin_addresses

PAUSE: Final = timedelta(days=7)
ADDRESSES_MAX: Final = 100
RUNS_KEPT: Final = 3


async def remind_operator(desk: Desk) -> str:
    """Look at backups and certificate; mail what is wrong."""
    found = await desk.look_around()
    if not found:
        return ALL_WELL
    mailed = 0
    if await desk.mailer.is_ready():
        last = await load_last_runs(desk.stores.postgres, [run_name(one) for one in found])
        for one in found:
            before = last.get(run_name(one))
            now = desk.clock.now()
            told = before is not None and before.outcome is Outcome.OK
            if before is None or not told or now - before.due_at >= PAUSE:
                mailed += await _mail(desk, one)
    causes = "; ".join(one.cause for one in found)
    return f"{causes} ({mailed} mails)"


async def _mail(desk: Desk, one: Reminder) -> int:
    """Tell every administrator of one finding; recorded only when all were told."""
    addresses = await list_admin_addresses(desk.stores.postgres, limit=ADDRESSES_MAX)
    now = desk.clock.now()
    for address in addresses:
        await desk.lead.require()
        await desk.mailer.send(
            address, reminder_letter(one), dispatch_id=f"{run_name(one)}:{now:%Y-%m-%d}:{address}"
        )
    async with desk.lead.fenced() as transaction:
        name = run_name(one)
        await begin_run(transaction, name=name, started_at=now, due_at=now, leader=desk.lead.holder)
        await end_run(
            transaction,
            name=name,
            started_at=now,
            ended_at=desk.clock.now(),
            outcome=Outcome.OK,
            detail=f"told {len(addresses)} administrators",
            keep=RUNS_KEPT,
        )
    return len(addresses)


def reminder_letter(one: Reminder) -> Letter:
    """The mail about one finding."""
    lines = (f"{PRODUCT} needs you:", one.cause, f"What to do: {one.remedy}")
    return Letter(
        subject=f"{PRODUCT}: {one.cause}",
        text="\n\n".join(lines) + "\n",
        html="".join(f"<p>{escape(line)}</p>" for line in lines),
    )


def run_name(one: Reminder) -> str:
    """The name under which it is recorded that a finding was told."""
    return f"reminder:{one.check}"
