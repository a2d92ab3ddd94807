"""What the scheduler needs of the machine half: the events worker at rest, the doctor's eyes.

Invariant: the two halves meet here and nowhere else; both directions are plain functions.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import SystemClock
from appliance.cli.options import Sources
from appliance.config.model import Settings
from appliance.config.sources import process_environment
from appliance.lifecycle.backup.hold import worker_held
from appliance.lifecycle.backup.note import load_newest
from appliance.lifecycle.doctor.catalogue import examine
from appliance.lifecycle.doctor.check import Severity
from appliance.lifecycle.doctor.facts import BackupFacts, BackupsFacts, Facts, Subject, TargetFacts
from appliance.lifecycle.doctor.gathering.run import gather
from appliance.lifecycle.doctor.gathering.scene import Wanted, find_scene
from appliance.lifecycle.host import RealHost
from appliance.lifecycle.layout import Layout
from appliance.services.jobs.desk import LookAround, Quiet, Reminder

HOLDER: Final = "scheduler"
REMINDED: Final = frozenset({"backup-age", "certificate"})
"""The checks whose findings only a person can end, and whose time comes by itself."""


def let_writer_rest(settings: Settings) -> Quiet:
    """A block during which the events worker of this installation rests."""

    def rest() -> AbstractAsyncContextManager[object]:
        return worker_held(settings, SystemClock(), holder=HOLDER)

    return rest


def look_around(sources: Sources) -> LookAround:
    """What the doctor finds about backups and certificate."""
    wanted = Wanted(
        config_file=sources.config_file, flags=sources.flags, environment=process_environment()
    )

    async def look() -> tuple[Reminder, ...]:
        scene = find_scene(wanted, host=RealHost(), clock=SystemClock())
        facts = await gather(scene)
        if any(one.subject is Subject.BACKUPS for one in facts.unseen):
            told = await asyncio.to_thread(told_backups, scene.settings, scene.layout)
            facts = msgspec.structs.replace(facts, backups=told)
        return reminders_of(facts)

    return look


def reminders_of(facts: Facts) -> tuple[Reminder, ...]:
    """The findings that somebody must be reminded of."""
    report = examine(facts, only=(Subject.BACKUPS, Subject.CERTIFICATE))
    return tuple(
        Reminder(check=one.check, cause=one.cause, remedy=one.remedy)
        for one in report.findings
        if one.check in REMINDED and one.severity in {Severity.FAILED, Severity.WARNING}
    )


def told_backups(settings: Settings, layout: Layout | None) -> BackupsFacts:
    """The newest backup as it was noted for accounts that may not look into the targets."""
    newest = load_newest(settings)
    backups = (
        () if newest is None else (BackupFacts(id="", point=newest, reason="", encrypted=False),)
    )
    return BackupsFacts(
        targets=(TargetFacts(path=str(settings.folders.backups), backups=backups),),
        first_use=_installed_at(layout.layout_file) if layout is not None else None,
    )


def _installed_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    except OSError:
        return None
