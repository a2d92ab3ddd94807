"""Restoring at the command line, and ending a restore that was cut off.

Invariant: nobody starts an appliance on data that is being exchanged.
"""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Final

from appliance.base.clock import Clock, SystemClock
from appliance.base.errors import DamagedError
from appliance.base.files import FileLock, ensure_folder
from appliance.cli.backup_desk import Desk
from appliance.cli.drill import chosen_drill
from appliance.cli.progress import open_progress
from appliance.config.model import Settings
from appliance.config.sources import process_environment
from appliance.lifecycle.backup.create import Origin
from appliance.lifecycle.backup.model import Part, Summary
from appliance.lifecycle.backup.pool import Pool
from appliance.lifecycle.backup.rebuild import PoolSource
from appliance.lifecycle.backup.restore import (
    Restoring,
    journal_folder,
    recover_restore,
    restore_backup,
)
from appliance.lifecycle.backup.services import OwnServices, Services, SystemdServices
from appliance.lifecycle.host import RealHost
from appliance.lifecycle.journal import Journal
from appliance.lifecycle.progress import Progress

_HOUR_SECONDS: Final = 3600
_DAY_SECONDS: Final = 86400


async def restore_at_desk(desk: Desk, pool: Pool, name: str, progress: Progress) -> None:
    settings = desk.settings
    services = choose_services(settings)
    await finish_restore(desk.origin, services, clock=desk.clock, progress=progress)
    source = PoolSource(pool, pool.load(name))
    summary = source.manifest.summary
    age = _age(summary, desk.clock)
    progress.note(f"restoring {name}: data from {summary.point}{age}, release {summary.release}")
    await restore_backup(
        source,
        Restoring(
            settings=settings,
            parts=tuple(part for part in Part if part not in source.manifest.missing),
            config_file=desk.origin.config_file,
        ),
        services,
        journals=journal_folder(settings),
        inherited=desk.origin.inherited,
        clock=desk.clock,
        progress=progress,
        drill=chosen_drill(),
    )


def choose_services(settings: Settings) -> Services:
    """How this installation is stopped and started."""
    return SystemdServices(RealHost()) if settings.installed else OwnServices(settings)


async def finish_restore(
    origin: Origin, services: Services, *, clock: Clock, progress: Progress
) -> None:
    """Bring a restore that was cut off to its end, forwards or backwards; else do nothing."""
    journal = Journal.load(journal_folder(origin.settings))
    if journal is None:
        return
    outcome = await recover_restore(
        origin.settings,
        services,
        config_file=origin.config_file,
        journal=journal,
        clock=clock,
        progress=progress,
    )
    progress.note(f"an earlier restore had been cut off: {outcome.value}")


def finish_interrupted(settings: Settings) -> None:
    """What `run` does before it opens the data: end a restore that was cut off."""
    origin = Origin(settings=settings, config_file=None, inherited=process_environment())
    with open_progress() as progress, appliance_lock(settings):
        services = choose_services(settings)
        asyncio.run(finish_restore(origin, services, clock=SystemClock(), progress=progress))


def appliance_lock(settings: Settings) -> AbstractContextManager[object]:
    """Nobody may start an appliance on the data meanwhile; installed, its units are stopped."""
    if settings.installed:
        return nullcontext()
    ensure_folder(settings.folders.run)
    return FileLock(settings.folders.lock_file)


def _age(summary: Summary, clock: Clock) -> str:
    try:
        seconds = (clock.now() - datetime.fromisoformat(summary.point)).total_seconds()
    except ValueError as error:
        raise DamagedError("BACKUP_DAMAGED", f"the instant {summary.point} is none") from error
    if seconds < 0:
        return ""
    if seconds < 2 * _DAY_SECONDS:
        return f" ({seconds / _HOUR_SECONDS:.1f} hours ago)"
    return f" ({seconds / _DAY_SECONDS:.0f} days ago)"
