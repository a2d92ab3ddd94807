"""Prove that a backup can be restored: restore it into a scratch area and ask what was asked then.

Invariant: the scratch area is a data directory of its own with engines of its own, removed whatever
happens. A damaged object is set aside, so that the next backup writes it anew if it still can.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.errors import DamagedError
from appliance.config.model import Settings
from appliance.lifecycle.backup.engines import engines_running
from appliance.lifecycle.backup.model import Summary
from appliance.lifecycle.backup.pool import Pool
from appliance.lifecycle.backup.rebuild import STORES, Difference, PoolSource, compare, rebuild
from appliance.lifecycle.backup.verdict import note_verdict
from appliance.lifecycle.progress import Progress

SCRATCH: Final = "verifying"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about a backup; it is good when nothing is listed.

    `damaged` names the objects that are not what was written, `differences` the questions that the
    restored data answers otherwise.
    """

    summary: Summary
    items: int
    answers: int
    damaged: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether a restore brings everything back."""
        return not self.damaged and not self.differences


async def verify_backup(
    pool: Pool,
    name: str,
    settings: Settings,
    *,
    scratch: Path | None,
    inherited: Mapping[str, str],
    clock: Clock,
    progress: Progress,
) -> Verified:
    """Verify one backup of an opened target; `scratch` is a folder that does not exist yet.

    Raises DamagedError when the manifest itself is damaged, ApplianceError when the scratch area
    cannot be made or its engines do not start.
    """
    manifest = pool.load(name)
    folder = scratch or settings.data_dir / SCRATCH
    started = clock.monotonic_seconds()
    source = PoolSource(pool, manifest)
    report = Verified(
        summary=manifest.summary,
        items=len(manifest.items),
        answers=len(manifest.answers) + len(manifest.streams),
    )
    try:
        progress.begin("rebuild", "reading every object")
        try:
            rebuilt = await rebuild(
                source, folder, settings, inherited=inherited, progress=progress
            )
        except DamagedError:
            if not source.damaged:
                raise
            for item in source.damaged:
                pool.set_aside(item)
            damaged = tuple(f"{item.name} (object {item.object})" for item in source.damaged)
            return _noted(pool, clock, msgspec.structs.replace(report, damaged=damaged))
        progress.end("rebuild", clock.monotonic_seconds() - started)
        progress.begin("compare", "asking what was asked then")
        names = tuple(part.value for part in STORES if part not in manifest.missing)
        async with engines_running(rebuilt, inherited=inherited, names=names):
            differences = await compare(rebuilt, manifest)
        seconds = clock.monotonic_seconds() - started
        progress.end("compare", seconds)
        found = msgspec.structs.replace(report, differences=differences, seconds=round(seconds, 3))
        return _noted(pool, clock, found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _noted(pool: Pool, clock: Clock, found: Verified) -> Verified:
    """The report, left beside the manifest for the doctor."""
    folder = pool.folder / "backups" / found.summary.id
    note_verdict(folder, good=found.good, at=clock.now())
    return found
