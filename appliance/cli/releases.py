"""`releases`: what is installed, and what can be gone back to."""

import asyncio
from pathlib import Path

import click
import msgspec

from appliance.cli.installation import prefix_option
from appliance.cli.options import json_option, print_json, print_table
from appliance.cli.progress import human_bytes
from appliance.config.load import load_settings
from appliance.lifecycle.backup.model import Summary
from appliance.lifecycle.backup.points import list_restore_points
from appliance.lifecycle.host import RealHost
from appliance.lifecycle.layout import find_prefix, load_layout
from appliance.lifecycle.premises import ensure_premises
from appliance.lifecycle.releases import Release, list_releases
from appliance.lifecycle.signature import load_trusted_keys


@click.command()
@prefix_option
def premises(*, prefix: Path | None) -> None:
    """Make the accounts, folders and secrets this release needs and lacks (used by `upgrade`)."""
    layout = load_layout(prefix.absolute() if prefix is not None else find_prefix())
    asyncio.run(ensure_premises(layout, RealHost()))


class ReleasesReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `releases --json` prints."""

    releases: tuple[Release, ...]
    restore_points: tuple[Summary, ...]


@click.command()
@prefix_option
@json_option
def releases(*, prefix: Path | None, as_json: bool) -> None:
    """List the installed releases and the restore points of upgrades."""
    layout = load_layout(prefix.absolute() if prefix is not None else find_prefix())
    settings = load_settings(config_file=layout.config_file, environment={}, flags={})
    report = ReleasesReport(
        releases=list_releases(layout, load_trusted_keys(layout.trusted_keys)),
        restore_points=list_restore_points(settings),
    )
    if as_json:
        print_json(report)
        return
    print_table(
        ("VERSION", "NUMBER", "STATE", "SIZE", "SHARED", "SIGNATURE"),
        [
            (
                one.version,
                str(one.number),
                _state(one),
                human_bytes(one.size_bytes),
                human_bytes(one.shared_bytes),
                one.signature,
            )
            for one in report.releases
        ],
    )
    if report.restore_points:
        print()
        print_table(
            ("RESTORE POINT", "FROM", "RELEASE", "REASON"),
            [(one.id, one.point, one.release, one.reason) for one in report.restore_points],
        )


def _state(release: Release) -> str:
    words = (
        ("current", release.current),
        ("previous", release.previous),
        ("runs an engine", release.in_use and not release.current),
    )
    return ", ".join(word for word, holds in words if holds) or "-"
