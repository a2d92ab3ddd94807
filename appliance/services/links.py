"""Links into the dashboard, as mails and the command line carry them [workers 4.5]."""

import socket
from typing import Final
from urllib.parse import quote

from appliance.base.errors import ApplianceError
from appliance.config.endpoints import load_ports
from appliance.config.model import Settings
from appliance.config.tls import find_tls

_ANY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 compared, not bound


class DashboardLinks:
    """Links below one base URL."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    @property
    def base_url(self) -> str:
        """Where the dashboard is, without a slash at the end."""
        return self._base_url

    def magic_link(self, token: str) -> str:
        """Where a sign-in or invitation token is redeemed."""
        return f"{self._base_url}/magic-link?token={quote(token, safe='')}"


def dashboard_base_url(settings: Settings) -> str:
    """Where people open the dashboard: as configured, else the API's own address."""
    if settings.email.dashboard_base_url:
        return settings.email.dashboard_base_url
    host = settings.api.host
    if host in _ANY_ADDRESS:
        host = socket.gethostname() or "localhost"
    shown = f"[{host}]" if ":" in host else host
    port = load_ports(settings).api
    try:
        scheme = "https" if find_tls(settings) is not None else "http"
    except ApplianceError:
        scheme = "http"  # a broken certificate is reported by the API, not by a link
    return f"{scheme}://{shown}:{port}"
