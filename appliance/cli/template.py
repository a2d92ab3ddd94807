"""`template`: configuration for the programs around the appliance, filled from its settings.

Invariant: nothing is installed anywhere; the text is printed, or written to the file that is named.
"""

from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec

from appliance.base.files import write_atomic
from appliance.cli.options import settings_options
from appliance.config.endpoints import load_ports
from appliance.config.model import Settings
from appliance.lifecycle.templates.catalogue import TEMPLATES
from appliance.lifecycle.templates.site import (
    DEFAULT_CERTIFICATE,
    DEFAULT_DOMAIN,
    DEFAULT_KEY,
    make_site,
)

_PUBLIC_FILE = 0o644


@click.command()
@click.argument("name", type=click.Choice(list(TEMPLATES)))
@click.option("--domain", help="Name that people type; default: that of email.dashboard_base_url.")
@click.option("--certificate", default=DEFAULT_CERTIFICATE, help="Certificate file of the proxy.")
@click.option("--key", default=DEFAULT_KEY, help="Key file of the proxy.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@settings_options
def template(
    settings: Settings,
    *,
    name: str,
    domain: str | None,
    certificate: str,
    key: str,
    output: Path | None,
) -> None:
    """Print the configuration of a neighbour: proxy, container, monitoring or log server."""
    known = urlsplit(settings.email.dashboard_base_url).hostname or DEFAULT_DOMAIN
    port = settings.api.port or load_ports(settings).api
    site = make_site(settings, domain=domain or known, port=port)
    site = msgspec.structs.replace(site, certificate=certificate, key=key)
    text = TEMPLATES[name](site)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomic(output, text.encode(), mode=_PUBLIC_FILE)
        click.echo(f"wrote {output}", err=True)
