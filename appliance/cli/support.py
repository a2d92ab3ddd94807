"""`support-bundle`: one file for whoever helps.

Invariant: works when nothing else does; what it holds and what was taken out is told.
"""

import asyncio
from pathlib import Path

import click

from appliance.base.clock import SystemClock
from appliance.base.units import Bytes
from appliance.cli.options import Sources, json_option, print_json, sources_options
from appliance.config.sources import process_environment
from appliance.lifecycle.doctor.gathering.scene import Wanted, find_scene
from appliance.lifecycle.host import RealHost
from appliance.lifecycle.support import DAYS_DEFAULT, SupportReport, make_support_bundle


@click.command("support-bundle")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write (default: pug-support-TIME.tar.gz here).",
)
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    default=DAYS_DEFAULT,
    show_default=True,
    help="How old log lines may be.",
)
@json_option
@sources_options
def support_bundle(sources: Sources, *, output: Path | None, days: int, as_json: bool) -> None:
    """Write logs, state and settings into one file, without secrets and personal data.

    Works also when nothing runs. As root it sees more. Look through it before you hand it on.
    """
    wanted = Wanted(
        config_file=sources.config_file,
        flags=sources.flags,
        environment=process_environment(),
    )
    clock = SystemClock()
    path = output or Path(f"pug-support-{clock.now():%Y%m%dT%H%M%SZ}.tar.gz")
    scene = find_scene(wanted, host=RealHost(), clock=clock)
    report = asyncio.run(make_support_bundle(scene, path.absolute(), days=days))
    if as_json:
        print_json(report)
    else:
        print(_render(report))


def _render(report: SupportReport) -> str:
    removed = ", ".join(f"{count} {kind}" for kind, count in report.removed.items()) or "nothing"
    size = Bytes(max(report.bytes >> 10, 1) << 10)
    lines = [f"{report.path}: {len(report.files)} files, {size}", f"taken out: {removed}"]
    if report.left_out:
        lines.append(f"left out for lack of room: {', '.join(report.left_out)}")
    lines.append(f"look through it before you hand it on: tar tzf {report.path}")
    return "\n".join(lines)
