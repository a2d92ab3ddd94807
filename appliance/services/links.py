"""Links into the dashboard, as mails and the command line carry them [workers 4.5]."""

from urllib.parse import quote


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
