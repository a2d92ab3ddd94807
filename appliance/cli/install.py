"""`install`: put the unpacked bundle into service on this machine.

Invariant: nothing is asked and nothing is fetched. Findings are all shown before anything changes;
the decision is `lifecycle/preflight.py`'s, the steps are `lifecycle/install.py`'s.
"""

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from appliance.base.clock import SystemClock
from appliance.base.errors import NotFoundError
from appliance.cli.drill import chosen_drill
from appliance.cli.options import json_option, print_json
from appliance.cli.progress import open_progress
from appliance.lifecycle.first_settings import InstallOptions
from appliance.lifecycle.host import RealHost
from appliance.lifecycle.install import Installer, PreparedInstall, prepare_install
from appliance.lifecycle.layout import DEFAULT_PREFIX, MANIFEST_NAME
from appliance.lifecycle.preflight import PreflightFinding, Severity, refuse

_EXIT_NOT_READY = 4
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `install --check --json` prints."""

    ready: bool
    version: str
    findings: tuple[PreflightFinding, ...]


class InstallReport(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of `install --json`."""

    event: str = "installed"
    version: str
    url: str
    prefix: str
    data_dir: str
    config_file: str
    key_fingerprint: str
    seconds: float


@click.command()
@click.option(
    "--prefix",
    type=_FOLDER,
    default=DEFAULT_PREFIX,
    show_default=True,
    help="Where the programs go.",
)
@click.option("--data-dir", type=_FOLDER, help="Where the data goes.  [default: /var/lib/pug]")
@click.option("--port", type=click.IntRange(1, 65535), help="The public port.  [default: 8080]")
@click.option("--listen", help="The address to listen on.  [default: 0.0.0.0, all of them]")
@click.option("--config", "config_file", type=_FILE, help="A prepared configuration (TOML).")
@click.option(
    "--trusted-key",
    type=_FILE,
    help="Accept only a bundle signed with this public key, brought by another way.",
)
@click.option("--from", "source", type=_FOLDER, help="The unpacked bundle.  [default: this one]")
@click.option("--check", is_flag=True, help="Only look whether this machine is ready.")
@json_option
def install(
    *,
    prefix: Path,
    data_dir: Path | None,
    port: int | None,
    listen: str | None,
    config_file: Path | None,
    trusted_key: Path | None,
    source: Path | None,
    check: bool,
    as_json: bool,
) -> int:
    """Install the appliance from the unpacked bundle, start it, and wait until it answers.

    Run it again to repair or to apply a changed configuration; nothing that exists is lost.
    """
    if config_file is not None and (port is not None or listen is not None):
        raise click.UsageError("--port and --listen are keys of the file that --config names")
    options = InstallOptions(
        prefix=prefix.absolute(),
        data_dir=data_dir.absolute() if data_dir is not None else None,
        port=port,
        listen=listen,
        config_file=config_file,
        trusted_key=trusted_key,
    )
    clock = SystemClock()
    started = clock.monotonic_seconds()
    prepared = prepare_install(source or _own_bundle(), options, clock=clock)
    if check:
        return _report_check(prepared, as_json=as_json)
    _show(prepared, as_json=as_json)
    refuse(prepared.findings)
    with open_progress(as_json=as_json) as progress:
        installer = Installer(prepared, host=RealHost(), progress=progress, clock=clock)
        asyncio.run(installer.run(drill=chosen_drill()))
    report = InstallReport(
        version=prepared.bundle.manifest.version,
        url=prepared.url,
        prefix=str(prepared.chosen.layout.prefix),
        data_dir=str(prepared.chosen.layout.data_dir),
        config_file=str(prepared.chosen.layout.config_file),
        key_fingerprint=prepared.bundle.key.fingerprint,
        seconds=round(clock.monotonic_seconds() - started, 2),
    )
    if as_json:
        print_json(report)
    else:
        _print_welcome(report)
    return 0


def _own_bundle() -> Path:
    """The folder this program lies in."""
    folder = Path(sys.executable).resolve().parent
    if not (folder / MANIFEST_NAME).exists():
        raise NotFoundError(
            "BUNDLE_MISSING",
            f"there is no bundle in {folder}",
            hint="unpack the tarball and run `./pug-appliance install` in its folder",
        )
    return folder


def _report_check(prepared: PreparedInstall, *, as_json: bool) -> int:
    ready = all(finding.severity is not Severity.FATAL for finding in prepared.findings)
    if as_json:
        version = prepared.bundle.manifest.version
        print_json(CheckReport(ready=ready, version=version, findings=prepared.findings))
    else:
        _show(prepared, as_json=False)
        print("this machine is ready" if ready else "this machine is not ready")
    return 0 if ready else _EXIT_NOT_READY


def _show(prepared: PreparedInstall, *, as_json: bool) -> None:
    for finding in prepared.findings:
        if as_json:
            body = {"event": "finding", **msgspec.to_builtins(finding)}
            print(msgspec.json.encode(body).decode(), flush=True)
            continue
        click.echo(f"{finding.severity}: {finding.check}: {finding.cause}", err=True)
        if finding.remedy:
            click.echo(f"    {finding.remedy}", err=True)


def _print_welcome(report: InstallReport) -> None:
    print(
        f"""
Pug Appliance {report.version} answers at {report.url} (after {report.seconds:.1f} s).

Make the first administrator:
    pug-appliance user create --email you@example.org
Make a project, which prints its public key:
    pug-appliance project create "My product"
Send an event:
    curl {report.url}/sdk.events.v1.EventsService/BatchCreate \\
      -H 'content-type: application/json' -H 'x-api-key: PUBLIC_KEY' \\
      -d '{{"events":[{{"eventId":"'$(cat /proc/sys/kernel/random/uuid)'","kind":"hello",
           "occurTime":"'$(date -u +%FT%TZ)'","distinctId":"me",
           "sessionId":"'$(cat /proc/sys/kernel/random/uuid)'"}}]}}'

Settings are in {report.config_file}, data in {report.data_dir}.
The publisher's key that is trusted from now on: {report.key_fingerprint}
Look after it with: pug-appliance status | doctor | backup create
The unpacked folder is no longer needed; delete it."""
    )
