"""`tls`: the certificate of the public port.

Invariant: a private key is never printed. What a certificate must be is decided in
`lifecycle/tls.py`.
"""

from pathlib import Path

import click

from appliance.base.clock import SystemClock
from appliance.base.errors import NotFoundError
from appliance.cli.options import json_option, print_json, settings_options
from appliance.config.model import Settings
from appliance.config.secrets import load_secret_file
from appliance.config.tls import first_certificate
from appliance.lifecycle.tls import (
    SELF_SIGNED_DAYS,
    TlsReport,
    inspect_tls,
    install,
    installed_files,
    make_self_signed,
    read_bundle,
    remove,
    tls_place,
)

_FILE = click.Path(path_type=Path, dir_okay=False)
_NEXT = (
    "it is used after a restart: `systemctl restart pug-appliance`, or `pug-appliance restart api` "
    "without systemd"
)


@click.group()
def tls() -> None:
    """HTTPS at the public port, without a proxy."""


@tls.command(name="import")
@click.argument("certificate", type=_FILE)
@click.argument("key", type=_FILE)
@click.option("--chain", type=_FILE, help="The certificates between yours and the root.")
@click.option("--passphrase-file", type=_FILE, help="File with the passphrase of the key.")
@json_option
@settings_options
def import_(
    settings: Settings,
    *,
    certificate: Path,
    key: Path,
    chain: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Check CERTIFICATE and KEY (PEM or DER) and install them for the public port."""
    place = tls_place(settings)
    passphrase = None
    if passphrase_file is not None:
        passphrase = load_secret_file(passphrase_file).reveal().encode()
    bundle = read_bundle(certificate, key, chain, clock=SystemClock(), passphrase=passphrase)
    report = install(bundle, place)
    _tell(report, as_json=as_json)
    if not as_json:
        if bundle.reordered:
            click.echo("note: the chain was not in order and was put in order", err=True)
        click.echo(_NEXT, err=True)


@tls.command(name="self-signed")
@click.option(
    "--name",
    "names",
    multiple=True,
    required=True,
    help="Host name or address that clients will use. May be repeated.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=SELF_SIGNED_DAYS,
    show_default=True,
    help="How long it is valid.",
)
@json_option
@settings_options
def self_signed(settings: Settings, *, names: tuple[str, ...], days: int, as_json: bool) -> None:
    """Make a certificate and install it; clients must be told to trust it (`tls show --pem`)."""
    place = tls_place(settings)
    report = install(make_self_signed(names, days=days, clock=SystemClock()), place)
    _tell(report, as_json=as_json)
    if not as_json:
        click.echo(_NEXT, err=True)


@tls.command()
@click.option("--pem", is_flag=True, help="Print the certificate itself, to be trusted by clients.")
@json_option
@settings_options
def show(settings: Settings, *, pem: bool, as_json: bool) -> int:
    """Names, issuer, dates and fingerprint of the certificate in use; status 1 with a problem."""
    files = installed_files(settings)
    if pem and files is not None:
        click.echo(first_certificate(files.certificate.read_text("ascii")), nl=False)
        return 0
    report = inspect_tls(settings, SystemClock())
    if report is None:
        raise NotFoundError(
            "TLS_MISSING",
            "there is no certificate; the public port speaks plain HTTP",
            hint="run `pug-appliance tls import CERT KEY` or `pug-appliance tls self-signed`",
        )
    _tell(report, as_json=as_json)
    return 1 if report.problems else 0


@tls.command(name="remove")
@json_option
@settings_options
def remove_(settings: Settings, *, as_json: bool) -> None:
    """Remove certificate and key; the public port speaks plain HTTP after a restart."""
    place = tls_place(settings)
    remove(place)
    if as_json:
        print_json({"removed": str(place)})
    else:
        click.echo(f"removed {place}; plain HTTP is spoken after a restart")


def _tell(report: TlsReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    issuer = "itself" if report.self_signed else report.issuer
    lines = (
        ("names", ", ".join(report.names)),
        ("issuer", issuer),
        ("chain", " < ".join(report.chain) or "-"),
        ("valid", f"{report.starts_at:%Y-%m-%d} to {report.expires_at:%Y-%m-%d}"),
        ("days left", str(report.days_left)),
        ("key", report.key),
        ("SHA-256", report.fingerprint_sha256),
        ("file", report.path),
    )
    for heading, text in lines:
        click.echo(f"{heading:<10}{text}")
    for problem in report.problems:
        click.echo(f"problem   {problem}")
