"""`postgres`, `clickhouse`, `nats`: bring the three stores to their schema; serve the engine."""

import asyncio
import os
import sys
from collections.abc import Awaitable
from pathlib import Path

import click

from appliance.base.log import configure_logging
from appliance.base.ready import systemd_listeners
from appliance.cli.options import json_option, log_level, print_json, settings_options
from appliance.config.endpoints import load_ports, resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import SecretName, secret_path
from appliance.config.sources import process_environment
from appliance.supervisor.notify import Notifier

_MEMORY_SHARE = 2
_FREE_BYTES_MIN = 64 << 20
_FREE_SHARE = 4
"""Inserts stop at this part of the reserve: what is left is for merges and the other engines."""
"""Without a setting, all queries together get one part in so many of the machine's memory."""


@click.group()
def postgres() -> None:
    """The relational store: accounts, projects, keys, dashboards."""


@click.group()
def clickhouse() -> None:
    """The event store: events and roll-ups."""


@click.group()
def nats() -> None:
    """The queue: streams, consumers, buckets."""


@postgres.command("migrate")
@json_option
@settings_options
def migrate_postgres(settings: Settings, *, as_json: bool) -> None:
    """Bring the relational schema up to date; safe to run twice and by two at once."""
    from appliance.storage.migrate import migrate_postgres as migrate  # noqa: PLC0415 the product half only here

    _migrate(migrate(resolve_endpoints(settings).postgres, _show), as_json=as_json)


@clickhouse.command("migrate")
@json_option
@settings_options
def migrate_clickhouse(settings: Settings, *, as_json: bool) -> None:
    """Bring the event store's schema up to date; safe to run twice and by two at once."""
    from appliance.storage.migrate import migrate_clickhouse as migrate  # noqa: PLC0415 the product half only here

    _migrate(migrate(resolve_endpoints(settings).clickhouse, _show), as_json=as_json)


@nats.command("migrate")
@json_option
@settings_options
def migrate_nats(settings: Settings, *, as_json: bool) -> None:
    """Bring streams, consumers and buckets up to date; safe to run twice and by two at once."""
    from appliance.storage.migrate import migrate_nats as migrate  # noqa: PLC0415 the product half only here

    endpoint = resolve_endpoints(settings).nats
    _migrate(migrate(endpoint, settings.nats.retention, _show), as_json=as_json)


@clickhouse.command("serve")
@settings_options
def serve_clickhouse(settings: Settings) -> None:
    """Run the engine process in the foreground (started by `run` or its unit)."""
    from appliance.clickhouse_http.server import EngineOptions, serve  # noqa: PLC0415 the machine half only here

    configure_logging(component="clickhouse", readable=False, level=log_level(settings))
    environment = process_environment()
    folders = settings.folders
    chosen = settings.clickhouse
    # The supervisor leaves a copy for the account of the engine, which cannot enter `secrets/`.
    copy = folders.clickhouse / "password"
    copied = not settings.installed and copy.exists()
    serve(
        EngineOptions(
            data_dir=folders.clickhouse,
            port=load_ports(settings).clickhouse,
            user=chosen.user,
            password_file=copy if copied else secret_path(folders.secrets, SecretName.CLICKHOUSE),
            free_bytes_min=min(_FREE_BYTES_MIN, int(settings.disk.reserve) // _FREE_SHARE),
            memory_bytes_max=chosen.memory_bytes_max or _machine_memory_bytes() // _MEMORY_SHARE,
            queries_max=chosen.queries_max,
            listening=next(iter(systemd_listeners(environment)), None),
        ),
        on_ready=Notifier(environment).ready,
    )


@clickhouse.command("read-table", hidden=True)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Rows to pass over.")
@click.option("--descriptor", type=click.IntRange(min=1), required=True, help="Where to write.")
def read_table(path: Path, *, skip: int, descriptor: int) -> None:
    """Write the rows of a Parquet file as JSON lines (started by `import events`)."""
    from appliance.clickhouse_http.table_file import write_table  # noqa: PLC0415 the machine half only here

    write_table(path, skip=skip, descriptor=descriptor)


def _machine_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _migrate(work: Awaitable[object], *, as_json: bool) -> None:
    from appliance.storage.schema import MigrationReport  # noqa: PLC0415 the product half only here

    async def run() -> object:
        return await work

    report = asyncio.run(run())
    assert isinstance(report, MigrationReport)
    if as_json:
        print_json(report)
    elif report.applied:
        print(f"{report.store}: applied {len(report.applied)}, now at {report.version:04d}")
    else:
        print(f"{report.store}: nothing to do, at {report.version:04d}")


def _show(name: str) -> None:
    print(f"applying {name}", file=sys.stderr, flush=True)
