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
    await ensure_accounts(host)
    ensure_folders(layout, host)
    ensure_all_secrets(layout)


async def ensure_accounts(host: Host) -> None:
    """Have the system users of the services."""
    for name in USERS:
        await host.ensure_user(name)
    # The socket of PostgreSQL is open to its group only.
    await host.ensure_user(APPLIANCE_USER, groups=(POSTGRES_USER,))


def ensure_folders(layout: Layout, host: Host) -> None:
    """Have every folder outside the releases with its owner and mode."""
    for folder in layout.folders():
        host.make_folder(folder.path, mode=folder.mode, owner=folder.owner)


def ensure_all_secrets(layout: Layout) -> None:
    """Have every secret file, that of PostgreSQL's superuser included."""
    ensure_secrets(layout.secrets)
    ensure_superuser_secret(layout.secrets)
