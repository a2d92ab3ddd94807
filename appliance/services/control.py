"""The control plane: every use-case about accounts, organisations, projects, keys and mail.

Invariant: made once for each process, on shared connections; making it touches no network.
"""

from appliance.base.clock import Clock
from appliance.base.ids import IdMaker
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.services.access import AccessService
from appliance.services.audit import AuditLog
from appliance.services.links import DashboardLinks
from appliance.services.stores import Stores
from appliance.services.tokens import AccessTokens


class ControlPlane:
    """The services of the public and dashboard boundaries [services 5, 6, 13]."""

    def __init__(
        self, stores: Stores, settings: Settings, signing_key: Secret, *, clock: Clock, ids: IdMaker
    ) -> None:
        self.tokens = AccessTokens(signing_key, clock=clock, ids=ids)
        self.access = AccessService(stores.postgres, self.tokens)
        self.audit = AuditLog(clock, ids)
        self.links = DashboardLinks(dashboard_base_url(settings))


def dashboard_base_url(settings: Settings) -> str:
    """Where people open the dashboard: as configured, else the API's own address."""
    if settings.email.dashboard_base_url:
        return settings.email.dashboard_base_url
    return f"http://{settings.api.host}:{settings.api.port}"
