"""`bundle`: check and show a bundle before anybody installs it.

Invariant: nothing is written and nothing is believed that the signature does not cover. The rules
are those of an upgrade (`lifecycle/inspection.py`), so what passes here passes there.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from appliance.base.errors import NotFoundError
from appliance.cli.options import json_option, print_json, print_table
from appliance.cli.progress import human_bytes, open_progress
from appliance.lifecycle.bundle import Head
from appliance.lifecycle.inspection import Inspection, verify_bundle
from appliance.lifecycle.layout import Layout, find_prefix, load_layout
from appliance.lifecycle.manifest import FileEntry, refused
from appliance.lifecycle.signature import TrustedKeys, load_trusted_keys
from appliance.lifecycle.trust import read_key

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_FOLDER: Final = click.Path(path_type=Path, file_okay=False)


class BundleReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `bundle verify --json` and `bundle inspect --json` print.

    `trusted` is whether the key is trusted here; `complete` is false for a delta that was checked
    without the release it was made from.
    """

    version: str
    release: int
    architecture: str
    glibc: str
    upgrades_from: int
    schema: dict[str, int]
    engines: dict[str, str]
    source_date: int
    files: int
    bytes: int
    keys: tuple[str, ...]
    signed_by: str
    trusted: bool
    complete: bool
    delta_from: str = ""
    entries: tuple[FileEntry, ...] = ()


@click.group()
def bundle() -> None:
    """Check and show a bundle without installing it."""


@bundle.command()
@click.argument("file", type=_FILE)
@click.option("--trusted-keys", type=_FOLDER, help="Folder of keys.  [default: the installed ones]")
@click.option("--key", type=_FILE, help="Accept only this public key.")
@click.option("--base", type=_FOLDER, help="For a delta: the release folder it was made from.")
@json_option
def verify(
    *, file: Path, trusted_keys: Path | None, key: Path | None, base: Path | None, as_json: bool
) -> None:
    """Check signature and every byte of FILE; exit status 5 when it must not be used."""
    if key is not None and trusted_keys is not None:
        raise click.UsageError("--key and --trusted-keys exclude each other")
    layout = _installed()
    trusted = _choose_keys(layout, trusted_keys, key)
    chosen_base = base or _current(layout)
    if as_json:
        found = verify_bundle(file, trusted=trusted, base=chosen_base)
        print_json(_report(found, trusted))
        return
    with open_progress() as progress:
        progress.begin("verify", f"checking {file.name}")
        found = verify_bundle(file, trusted=trusted, base=chosen_base, progress=progress)
    head = found.head
    print(f"{file.name} is sound: release {head.manifest.version}, signed by {head.key.id}")
    if not found.complete:
        click.echo(
            "note: the patches of this delta can only be checked with the release it was made "
            "from: name its folder with --base",
            err=True,
        )


@bundle.command()
@click.argument("file", type=_FILE)
@click.option("--files", "list_files", is_flag=True, help="List every file.")
@click.option("--sbom", is_flag=True, help="Print the bill of materials (CycloneDX JSON) only.")
@json_option
def inspect(*, file: Path, list_files: bool, sbom: bool, as_json: bool) -> None:
    """Show what FILE contains; it must be whole, but its key need not be trusted here.

    Exit status 5 when it is damaged.
    """
    trusted = load_trusted_keys(_trusted_folder(_installed()))
    found = verify_bundle(file, trusted=None)
    if sbom:
        _print_bill(found)
        return
    report = _report(found, trusted, entries=found.head.manifest.files if list_files else ())
    if as_json:
        print_json(report)
        return
    _print_report(report, found.head)


def _installed() -> Layout | None:
    try:
        return load_layout(find_prefix())
    except NotFoundError:
        return None


def _trusted_folder(layout: Layout | None) -> Path:
    return (layout or Layout()).trusted_keys


def _current(layout: Layout | None) -> Path | None:
    """The release in use, which a delta is tried with; None when none can be read."""
    if layout is None or not layout.current.is_dir():
        return None
    return layout.current.resolve()


def _choose_keys(layout: Layout | None, trusted_keys: Path | None, key: Path | None) -> TrustedKeys:
    if key is not None:
        return TrustedKeys(keys=(read_key(key),))
    folder = trusted_keys or _trusted_folder(layout)
    found = load_trusted_keys(folder)
    if not found.keys:
        raise refused(
            "NOBODY_TRUSTED",
            f"there is no trusted key in {folder}",
            hint="name the publisher's public key with --key FILE",
        )
    return found


def _report(
    found: Inspection, trusted: TrustedKeys, *, entries: tuple[FileEntry, ...] = ()
) -> BundleReport:
    manifest = found.head.manifest
    return BundleReport(
        version=manifest.version,
        release=manifest.release,
        architecture=manifest.architecture,
        glibc=manifest.glibc,
        upgrades_from=manifest.upgrades_from,
        schema=manifest.schema,
        engines=manifest.engines,
        source_date=manifest.source_date,
        files=len(manifest.files),
        bytes=manifest.total_bytes,
        keys=manifest.keys,
        signed_by=found.head.key.fingerprint,
        trusted=trusted.find(found.head.key.id) == found.head.key,
        complete=found.complete,
        delta_from=found.delta.base_version if found.delta is not None else "",
        entries=entries,
    )


def _print_bill(found: Inspection) -> None:
    if not found.bill:
        raise NotFoundError(
            "BILL_MISSING",
            "the bill of materials is not carried by this file",
            hint="a delta carries it only when it has changed; use the whole bundle",
        )
    click.echo(found.bill, nl=False)


def _print_report(report: BundleReport, head: Head) -> None:
    made = datetime.fromtimestamp(report.source_date, UTC)
    lines = (
        ("version", f"{report.version} (release number {report.release})"),
        ("takes over", f"from release number {report.upgrades_from} or later"),
        ("made from", f"sources of {made:%Y-%m-%d %H:%M} UTC"),
        ("needs", f"{report.architecture}, glibc {report.glibc} or newer"),
        ("engines", ", ".join(f"{name} {one}" for name, one in sorted(report.engines.items()))),
        ("schema", ", ".join(f"{name} {one}" for name, one in sorted(report.schema.items()))),
        ("content", f"{report.files} files, {human_bytes(report.bytes)}"),
        ("delta from", report.delta_from),
        ("signed by", f"{report.signed_by}{'' if report.trusted else ' (not trusted here)'}"),
    )
    for heading, text in lines:
        if text:
            print(f"{heading:<12}{text}")
    if report.entries:
        rows = [
            (entry.mode, str(entry.size), entry.sha256[:16], _shown(entry))
            for entry in head.manifest.files
        ]
        print_table(("mode", "bytes", "sha256", "path"), rows)


def _shown(entry: FileEntry) -> str:
    return f"{entry.path} -> {entry.link}" if entry.link else entry.path
