"""`backup`: keep everything in another place, prove that it can be restored, restore it.

Invariant: nothing is decided here; paths and passphrases come from flags, else from the settings.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from appliance.base.errors import ApplianceError
from appliance.cli.backup_desk import LATEST, Desk, desk_options
from appliance.cli.backup_restore import (
    appliance_lock,
    choose_services,
    finish_restore,
    restore_at_desk,
)
from appliance.cli.options import (
    json_option,
    print_json,
    print_table,
)
from appliance.cli.progress import human_bytes, open_progress
from appliance.lifecycle.backup.create import create_backup
from appliance.lifecycle.backup.model import Summary
from appliance.lifecycle.backup.points import (
    create_restore_point,
    list_restore_points,
    prune_restore_points,
    remove_restore_point,
)
from appliance.lifecycle.backup.pool import Pool
from appliance.lifecycle.backup.restore import (
    KEPT_SETTINGS,
    forget_replaced,
)
from appliance.lifecycle.backup.retention import plan_prune
from appliance.lifecycle.backup.verify import Verified, verify_backup

_EXIT_BAD: Final = 1


@click.group()
def backup() -> None:
    """Keep everything in another place, prove that it can be restored, restore it."""


@backup.command()
@click.option("--scheduled", is_flag=True, help="What the timer does: create, then prune.")
@json_option
@desk_options
def create(desk: Desk, *, scheduled: bool, as_json: bool) -> int:
    """Make a backup in each target.

    Works while the appliance runs, and when it is stopped. A target is made when its folder is
    empty or missing; with a passphrase file everything in it is encrypted.
    """
    made: list[tuple[Path, Summary]] = []
    problems: list[ApplianceError] = []
    with open_progress(as_json=as_json) as progress:
        for target in desk.targets:
            try:
                summary = asyncio.run(
                    create_backup(
                        desk.origin,
                        target,
                        desk.passphrase,
                        reason="scheduled" if scheduled else "manual",
                        clock=desk.clock,
                        progress=progress,
                    )
                )
                made.append((target, summary))
                if scheduled:
                    _prune(Pool.open(target, desk.passphrase), desk.settings.backup.keep)
                    prune_restore_points(desk.settings, desk.clock)
            except ApplianceError as error:
                problems.append(error)
                progress.note(f"{target}: {error}")
    if as_json:
        print_json({"event": "result", "backups": [_told(*one) for one in made]})
    else:
        for target, summary in made:
            print(
                f"backup {summary.id} in {target}: {human_bytes(summary.bytes_total)}, "
                f"{human_bytes(summary.bytes_added)} added, {summary.seconds:.1f} s"
            )
            if not summary.encrypted:
                print(
                    "  not encrypted: it has the secrets; the folder is readable by its owner only"
                )
    if problems:
        raise problems[0]
    return 0


@backup.command("list")
@json_option
@desk_options
def list_all(desk: Desk, *, as_json: bool) -> int:
    """Every backup: when the data is from, what it holds."""
    rows: list[tuple[str, ...]] = []
    told: list[dict[str, object]] = []
    for pool in map(Pool.peek, desk.targets):
        for listed in pool.backups():
            if listed.summary is None:
                rows.append((listed.id, "damaged", "", "", "", "", str(pool.folder)))
                told.append({"id": listed.id, "target": str(pool.folder), "damaged": True})
                continue
            summary = listed.summary
            rows.append(
                (
                    summary.id,
                    summary.point[:19].replace("T", " "),
                    summary.release,
                    human_bytes(summary.bytes_total),
                    human_bytes(summary.bytes_added),
                    ("encrypted " if summary.encrypted else "") + summary.reason,
                    str(pool.folder),
                )
            )
            told.append(_told(pool.folder, summary))
    if as_json:
        print_json({"backups": told})
    elif not rows:
        print("no backups; `pug-appliance backup create` makes one")
    else:
        headings = ("BACKUP", "DATA FROM (UTC)", "RELEASE", "SIZE", "ADDED", "KIND", "TARGET")
        print_table(headings, rows)
    return 0


@backup.command()
@click.argument("name", metavar="[BACKUP]", default=LATEST)
@click.option("--all", "every", is_flag=True, help="Every backup of every target.")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the scratch area; default: in data_dir.",
)
@json_option
@desk_options
def verify(desk: Desk, *, name: str, every: bool, scratch: Path | None, as_json: bool) -> int:
    """Restore a backup into a scratch area and compare it with what was noted when it was made."""
    chosen = (
        [(pool, listed.id) for pool in desk.opened() for listed in pool.backups()]
        if every
        else [desk.find(name)]
    )
    reports: list[Verified] = []
    with open_progress(as_json=as_json) as progress:
        for pool, one in chosen:
            with pool:
                reports.append(
                    asyncio.run(
                        verify_backup(
                            pool,
                            one,
                            desk.settings,
                            scratch=scratch / f"verifying-{one}" if scratch else None,
                            inherited=desk.origin.inherited,
                            clock=desk.clock,
                            progress=progress,
                        )
                    )
                )
    if as_json:
        told = [msgspec.to_builtins(one) | {"good": one.good} for one in reports]
        print_json({"event": "result", "verified": told})
    else:
        for report in reports:
            _show_report(report)
    return 0 if all(one.good for one in reports) else _EXIT_BAD


@backup.command()
@click.option("--keep", type=click.IntRange(min=1), help="Days to keep; default: backup.keep.")
@json_option
@desk_options
def prune(desk: Desk, *, keep: int | None, as_json: bool) -> int:
    """Remove old backups: the newest of each of the last days stays."""
    days = keep or desk.settings.backup.keep
    prune_restore_points(desk.settings, desk.clock)
    removed: list[str] = []
    freed = 0
    for pool in desk.opened():
        names, count = _prune(pool, days)
        removed += names
        freed += count
    if as_json:
        print_json({"removed": removed, "bytes_freed": freed})
    else:
        print(f"removed {len(removed)} backups, freed {human_bytes(freed)}")
    return 0


@backup.command()
@click.argument("name", metavar="[BACKUP]", default=LATEST)
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@json_option
@desk_options
def restore(desk: Desk, *, name: str, yes: bool, as_json: bool) -> int:
    """Put a backup in the place of what this installation has; without a name the newest.

    Works on the host the backup is from and on a fresh one, with the same or a newer release. What
    is replaced is kept until `backup discard`.
    """
    pool, chosen = desk.find(name)
    if not yes and sys.stdin.isatty():
        click.confirm(
            f"Replace the data in {desk.settings.data_dir} by backup {chosen} from {pool.folder}?",
            abort=True,
        )
    with open_progress(as_json=as_json) as progress, pool, appliance_lock(desk.settings):
        asyncio.run(restore_at_desk(desk, pool, chosen, progress))
    if as_json:
        print_json({"event": "result", "restored": chosen})
        return 0
    print(f"restored {chosen}")
    kept = desk.settings.data_dir / KEPT_SETTINGS
    if kept.is_dir():
        print(f"  settings of the backup that this host has already: {kept}")
    print("  what was replaced is kept; `pug-appliance backup discard` removes it")
    if not desk.settings.installed:
        print("  start with `pug-appliance run`")
    return 0


@backup.command()
@json_option
@desk_options
def finish(desk: Desk, *, as_json: bool) -> int:
    """Bring a restore that was cut off to its end; `run` does the same by itself."""
    with open_progress(as_json=as_json) as progress, appliance_lock(desk.settings):
        services = choose_services(desk.settings)
        asyncio.run(finish_restore(desk.origin, services, clock=desk.clock, progress=progress))
    return 0


@backup.command()
@json_option
@desk_options
def discard(desk: Desk, *, as_json: bool) -> int:
    """Remove the data that the last restore or rollback replaced."""
    freed = forget_replaced(desk.settings)
    if as_json:
        print_json({"bytes_freed": freed})
    else:
        print(f"freed {human_bytes(freed)}")
    return 0


@backup.group("restore-point")
def restore_point() -> None:
    """Moments kept on the same disk, for going back after a failed change."""


@restore_point.command("create")
@click.option("--reason", default="manual", show_default=True, help="Why, for the list.")
@json_option
@desk_options
def create_point(desk: Desk, *, reason: str, as_json: bool) -> int:
    """Keep this moment; takes a second and hardly any space."""
    with open_progress(as_json=as_json) as progress:
        summary = asyncio.run(
            create_restore_point(desk.origin, reason=reason, clock=desk.clock, progress=progress)
        )
    if as_json:
        print_json({"event": "result", "restore_point": summary})
    else:
        print(f"restore point {summary.id}: {summary.seconds:.1f} s")
    return 0


@restore_point.command("list")
@json_option
@desk_options
def list_points(desk: Desk, *, as_json: bool) -> int:
    """Every restore point."""
    points = list_restore_points(desk.settings)
    if as_json:
        print_json({"restore_points": points})
    elif not points:
        print("no restore points")
    else:
        print_table(
            ("RESTORE POINT", "DATA FROM (UTC)", "RELEASE", "REASON"),
            [(one.id, one.point[:19].replace("T", " "), one.release, one.reason) for one in points],
        )
    return 0


@restore_point.command("remove")
@click.argument("name", metavar="RESTORE_POINT")
@desk_options
def remove_point(desk: Desk, *, name: str) -> int:
    """Let a restore point go."""
    remove_restore_point(desk.settings, name)
    return 0


def _prune(pool: Pool, days: int) -> tuple[tuple[str, ...], int]:
    with pool:
        summaries = [listed.summary for listed in pool.backups() if listed.summary is not None]
        names = plan_prune(summaries, days=days)
        for name in names:
            pool.remove(name)
        return names, pool.clean()


def _show_report(report: Verified) -> None:
    summary = report.summary
    if report.good:
        print(
            f"backup {summary.id} is good: {report.items} objects, "
            f"{report.answers} answers as they were, {report.seconds:.1f} s"
        )
        return
    print(f"backup {summary.id} is NOT good")
    for name in report.damaged:
        print(f"  damaged: {name}")
    for one in report.differences:
        print(f"  different: {one.subject}: expected {one.expected}, found {one.found}")
    if report.damaged:
        print("  set aside, so that the next backup writes them anew where it still can")


def _told(target: Path, summary: Summary) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(summary)
    return told | {"target": str(target)}
