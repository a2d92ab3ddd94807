"""`upgrade` and `rollback`: to the release in a bundle, and back.

Invariant: nothing is asked; what will be lost by going back is said before it happens, and needs
`--yes` then. The steps are `lifecycle/upgrade.py`'s and `lifecycle/rollback.py`'s.
"""

from pathlib import Path

import click
import msgspec

from appliance.base.errors import UnmetError
from appliance.cli.drill import chosen_drill
from appliance.cli.installation import (
    Installation,
    carry_through,
    end_interrupted,
    open_installed,
    prefix_option,
)
from appliance.cli.options import json_option, print_json
from appliance.cli.progress import open_progress
from appliance.lifecycle.backup.points import create_restore_point
from appliance.lifecycle.operation import operation_lock
from appliance.lifecycle.preflight import Severity, refuse
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.rollback import PreparedRollback, Rollbacker, prepare_rollback
from appliance.lifecycle.upgrade import PreparedUpgrade, Upgrader, prepare_upgrade

_YES = click.option("--yes", is_flag=True, help="Do it even when later changes are lost.")


class ChangeReport(msgspec.Struct, frozen=True, kw_only=True):
    """The last line with `--json`."""

    event: str
    leaving: str
    wanted: str
    seconds: float
    restore_point: str = ""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--check", is_flag=True, help="Only look whether the upgrade could begin.")
@prefix_option
@json_option
def upgrade(*, bundle: Path, check: bool, prefix: Path | None, as_json: bool) -> int:
    """Upgrade to the release in BUNDLE, whole or delta, while clients go on sending.

    When anything fails everything is put back by itself (exit status 6).
    """
    with open_progress(as_json=as_json) as progress:
        installation = open_installed(prefix, progress)
        clock = installation.tools.clock
        started = clock.monotonic_seconds()
        with operation_lock(installation.layout):
            prepared = carry_through(_upgrade(installation, bundle, progress, check=check))
    if check:
        print(f"the upgrade from {prepared.leaving.version} to {prepared.wanted.version} can begin")
        return 0
    report = ChangeReport(
        event="upgraded",
        leaving=prepared.leaving.version,
        wanted=prepared.wanted.version,
        seconds=round(clock.monotonic_seconds() - started, 2),
    )
    _say(report, as_json=as_json)
    return 0


async def _upgrade(
    installation: Installation, bundle: Path, progress: Progress, *, check: bool
) -> PreparedUpgrade:
    await end_interrupted(installation)
    tools = installation.tools
    prepared = prepare_upgrade(bundle, tools)
    for finding in prepared.findings:
        if finding.severity is not Severity.NOTE:
            progress.note(f"{finding.severity}: {finding.cause}; {finding.remedy}")
    refuse(prepared.findings)
    if check:
        return prepared

    async def make_point(reason: str) -> str:
        point = await create_restore_point(
            installation.origin, reason=reason, clock=tools.clock, progress=progress
        )
        return point.id

    await Upgrader(tools, make_point=make_point).run(prepared, drill=chosen_drill())
    return prepared


@click.command()
@click.option(
    "--to-restore-point",
    "to_point",
    is_flag=True,
    help="Also put the stores back to before the upgrade, and store every event since again.",
)
@_YES
@prefix_option
@json_option
def rollback(*, to_point: bool, yes: bool, prefix: Path | None, as_json: bool) -> int:
    """Go back to the release before; every acknowledged event stays.

    Usually only the programs change. Where the older release cannot read the newer stores they are
    put back to the restore point of the upgrade; events since come again from the queue, but
    projects, keys and dashboards made since are lost, which needs --yes.
    """
    with open_progress(as_json=as_json) as progress:
        installation = open_installed(prefix, progress)
        clock = installation.tools.clock
        started = clock.monotonic_seconds()
        with operation_lock(installation.layout):
            prepared = carry_through(_rollback(installation, to_point=to_point, yes=yes))
    report = ChangeReport(
        event="rolled_back",
        leaving=prepared.leaving.version,
        wanted=prepared.wanted.version,
        seconds=round(clock.monotonic_seconds() - started, 2),
        restore_point=prepared.point,
    )
    _say(report, as_json=as_json)
    return 0


async def _rollback(installation: Installation, *, to_point: bool, yes: bool) -> PreparedRollback:
    await end_interrupted(installation)
    prepared = await prepare_rollback(installation.tools, to_point=to_point)
    if prepared.point and not yes:
        raise UnmetError(
            "CONFIRMATION_MISSING",
            f"the stores go back to restore point {prepared.point}: {prepared.messages} messages "
            "are stored again, projects, keys and dashboards made since are lost",
            hint="say --yes to do it",
        )
    rollbacker = Rollbacker(installation.tools, installation.origin)
    await rollbacker.run(prepared, drill=chosen_drill())
    return prepared


def _say(report: ChangeReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    print(f"release {report.wanted} is in use (before: {report.leaving}, {report.seconds:.1f} s)")
    if report.event == "upgraded":
        print("Back again with: pug-appliance rollback")
