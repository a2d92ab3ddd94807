"""Alerts of one process, made from the settings.

Invariant: making it touches no network.
"""

from appliance.base.clock import Clock
from appliance.base.errors import MisconfiguredError
from appliance.base.ids import IdMaker
from appliance.config.model import Settings
from appliance.domain.alerts.destinations import AllowList, parse_allow_list
from appliance.services.alerts.measuring import Insights
from appliance.services.alerts.sealing import SecretSealer
from appliance.services.alerts.service import AlertsService
from appliance.services.audit import AuditLog
from appliance.storage.postgres.pool import Postgres


def make_alerts(
    database: Postgres,
    insights: Insights,
    audit: AuditLog,
    settings: Settings,
    *,
    clock: Clock,
    ids: IdMaker,
) -> AlertsService:
    """The use-cases about alerts; raises MisconfiguredError for a host that is none."""
    return AlertsService(
        database,
        insights,
        audit,
        allowed=read_allow_list(settings),
        sealer=SecretSealer(settings.email.provider_secret_key),
        clock=clock,
        ids=ids,
    )


def read_allow_list(settings: Settings) -> AllowList:
    """Where webhooks may go; raises MisconfiguredError for a host that is none."""
    try:
        return parse_allow_list(settings.alerts.webhook_hosts)
    except ValueError as error:
        raise MisconfiguredError(
            "WEBHOOK_HOSTS_UNUSABLE",
            f"alerts.webhook_hosts: {error}",
            hint="list names, addresses or networks, like hooks.example:8443 or 10.1.2.0/24",
        ) from error
