"""The jobs there are.

Invariant: a closed list, documented line by line in `docs/jobs.md`; names never change, because
their runs are recorded under them.
"""

from datetime import time, timedelta
from typing import Final

from appliance.domain.jobs import REMINDERS
from appliance.domain.schedule import Daily, Every, Schedule, Weekly
from appliance.services.jobs.alerts import evaluate_alerts
from appliance.services.jobs.compaction import compact_sessions
from appliance.services.jobs.desk import Job
from appliance.services.jobs.erasures import repeat_stuck_erasures
from appliance.services.jobs.metering import meter_usage
from appliance.services.jobs.purge import purge_audit_log, purge_expired, purge_projects
from appliance.services.jobs.reminders import remind_operator
from appliance.services.jobs.reports import send_weekly_reports
from appliance.services.jobs.retention import enforce_retention

_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)
_FIVE_MINUTES: Final = timedelta(minutes=5)
_QUARTER: Final = timedelta(minutes=15)

JOBS: Final = (
    Job(
        name="compact-sessions",
        purpose="Compact sessions, which makes overviews quick.",
        schedule=Every(_MINUTE),
        seconds_max=1800.0,
        work=compact_sessions,
    ),
    Job(
        name="alerts",
        purpose="Evaluate alerts on insights.",
        schedule=Every(_FIVE_MINUTES),
        seconds_max=300.0,
        work=evaluate_alerts,
    ),
    Job(
        name="purge-expired",
        purpose="Take away expired links, sessions and invitations.",
        schedule=Every(_HOUR),
        seconds_max=600.0,
        work=purge_expired,
    ),
    Job(
        name="meter-usage",
        purpose="Count what each project used.",
        schedule=Every(_HOUR),
        seconds_max=600.0,
        work=meter_usage,
    ),
    Job(
        name="stuck-erasures",
        purpose="Ask again for erasures that did not end.",
        schedule=Every(_HOUR),
        seconds_max=300.0,
        work=repeat_stuck_erasures,
    ),
    Job(
        name="weekly-reports",
        purpose="Mail the weekly reports of projects.",
        schedule=Every(_QUARTER),
        seconds_max=1800.0,
        work=send_weekly_reports,
    ),
    Job(
        name=REMINDERS,
        purpose="Remind of missing backups and an expiring certificate.",
        schedule=Daily(time(8)),
        seconds_max=300.0,
        work=remind_operator,
    ),
    Job(
        name="retention",
        purpose="Take away events that are older than their project wants.",
        schedule=Daily(time(3, 30)),
        seconds_max=7200.0,
        work=enforce_retention,
        ages_away=True,
    ),
    Job(
        name="purge-projects",
        purpose="Take away projects deleted 30 days ago, with their events.",
        schedule=Daily(time(4, 30)),
        seconds_max=7200.0,
        work=purge_projects,
        ages_away=True,
    ),
    Job(
        name="purge-audit",
        purpose="Take away audit entries older than audit.retention.",
        schedule=Daily(time(5)),
        seconds_max=1800.0,
        work=purge_audit_log,
        ages_away=True,
    ),
)
"""In the order in which they run when several are due."""


def render_schedule(schedule: Schedule) -> str:
    """When a job is due, in words."""
    match schedule:
        case Every(period):
            minutes = int(period.total_seconds()) // 60
            return f"every {minutes} min" if minutes % 60 else f"every {minutes // 60} h"
        case Daily(at, zone):
            return f"daily {at:%H:%M} {zone}"
        case Weekly(day, at, zone):
            return f"{day.name.capitalize()} {at:%H:%M} {zone}"
