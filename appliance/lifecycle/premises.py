"""What a release needs around it: accounts, folders, secrets.

Invariant: only what is missing is made; nothing that exists is given another content. The release
that needs them makes them, because only it knows them.
"""

from appliance.config.secrets import ensure_secrets
from appliance.engines.postgres import ensure_superuser_secret
from appliance.lifecycle.host import Host
from appliance.lifecycle.layout import APPLIANCE_USER, POSTGRES_USER, USERS, Layout


async def ensure_premises(layout: Layout, host: Host) -> None:
    """Have every account, folder and secret of this release; can be repeated."""
    for name in USERS:
        await host.ensure_user(name)
    # The socket of PostgreSQL is open to its group only.
    await host.ensure_user(APPLIANCE_USER, groups=(POSTGRES_USER,))
    for folder in layout.folders():
        host.make_folder(folder.path, mode=folder.mode, owner=folder.owner)
    ensure_secrets(layout.secrets)
    ensure_superuser_secret(layout.secrets)
