"""Put a backup in the place of what an installation has.

Invariant: everything is rebuilt beside the live data and flushed before the first live file moves;
the move is renames alone. Until the commit a failure or a crash leads back, afterwards forward, so
the installation is wholly as before or wholly restored. What was replaced is kept until the
operator lets it go. Events that wait in the restored queue are stored at the next start, once.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.errors import DamagedError, UnmetError
from appliance.base.files import (
    PRIVATE_FILE,
    ensure_folder,
    flush_folder,
    unwritable,
    write_atomic,
)
from appliance.config.model import Settings
from appliance.lifecycle.backup.exchange import (
    REPLACED,
    WAITING,
    backward,
    bring,
    forget,
    forward,
)
from appliance.lifecycle.backup.model import PLACES_NAME, Part, Summary
from appliance.lifecycle.backup.rebuild import STORES, Source, rebuild
from appliance.lifecycle.backup.services import Services
from appliance.lifecycle.backup.stages import stage
from appliance.lifecycle.journal import Journal, Outcome
from appliance.lifecycle.layout import find_prefix, load_layout
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.runner import Drill, Runner
from appliance.lifecycle.steps import Plan, Step
from appliance.version import RELEASE, RELEASE_NUMBER

KIND: Final = "restore"
REBUILT: Final = "restoring"
KEPT_SETTINGS: Final = "restored-settings"
_BEFORE: Final = "secrets-before"


class Restoring(msgspec.Struct, frozen=True, kw_only=True):
    """What is restored, and where."""

    settings: Settings
    parts: tuple[Part, ...]
    config_file: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the data is rebuilt before it moves."""
        return self.settings.data_dir / REBUILT

    @property
    def stores(self) -> tuple[tuple[Part, Path], ...]:
        """The parts that are an engine's, with the engine's folder."""
        folders = self.settings.folders
        places = {
            Part.POSTGRES: folders.postgres,
            Part.CLICKHOUSE: folders.clickhouse,
            Part.NATS: folders.nats,
        }
        return tuple((part, places[part]) for part in STORES if part in self.parts)


def journal_folder(settings: Settings) -> Path:
    """Where the journal of a restore lies: with those of the installation, else in the data."""
    if settings.installed:
        return load_layout(find_prefix()).journal
    return settings.data_dir / "journal"


def check_release(summary: Summary) -> None:
    """Refuse a backup that a newer release made.

    Raises UnmetError naming both releases.
    """
    if summary.release_number > RELEASE_NUMBER:
        raise UnmetError(
            "RELEASE_TOO_OLD",
            f"backup {summary.id} was made by release {summary.release}, this is {RELEASE}",
            hint="install that release or a newer one, then restore",
        )


async def restore_backup(
    source: Source,
    restoring: Restoring,
    services: Services,
    *,
    journals: Path,
    inherited: Mapping[str, str],
    clock: Clock,
    progress: Progress,
    drill: Drill | None = None,
) -> None:
    """Restore; the appliance is started again where a service manager runs it.

    Raises UnmetError for a backup of a newer release, DamagedError naming what is damaged (then
    nothing was changed), RolledBackError when everything was put back.
    """
    check_release(source.manifest.summary)
    await services.check()
    journal = Journal.begin(
        journals,
        KIND,
        {"backup": source.manifest.summary.id, "parts": " ".join(restoring.parts)},
        clock=clock,
    )
    plan = plan_restore(source, restoring, services, inherited=inherited, progress=progress)
    runner = Runner(journal=journal, progress=progress, clock=clock)
    if drill is not None:
        runner = msgspec.structs.replace(runner, drill=drill)
    try:
        await runner.run(plan)
    finally:
        await _start(services, journals, clock=clock, progress=progress)


async def recover_restore(
    settings: Settings,
    services: Services,
    *,
    config_file: Path | None,
    journal: Journal,
    clock: Clock,
    progress: Progress,
) -> Outcome:
    """End a restore that was cut off: forwards when all data had moved, else backwards."""
    parts = tuple(Part(word) for word in journal.operation.parameters["parts"].split())
    restoring = Restoring(settings=settings, parts=parts, config_file=config_file)
    plan = plan_restore(None, restoring, services, inherited={}, progress=progress)
    outcome = await Runner(journal=journal, progress=progress, clock=clock).resume(plan)
    with stage(progress, clock, "start", "starting"):
        await services.start()
    return outcome


async def _start(services: Services, journals: Path, *, clock: Clock, progress: Progress) -> None:
    """Start what was stopped, once the journal is closed.

    Not a step: while a journal is open, the first unit to start is the one that recovers.
    """
    if Journal.load(journals) is None:
        with stage(progress, clock, "start", "starting"):
            await services.start()


def plan_restore(
    source: Source | None,
    restoring: Restoring,
    services: Services,
    *,
    inherited: Mapping[str, str],
    progress: Progress,
) -> Plan:
    """The steps; without a source only those that a cut-off restore still needs."""
    files = FileSteps(restoring)

    async def build() -> None:
        assert source is not None, "before the commit the way is back"
        await rebuild(
            source,
            restoring.folder,
            restoring.settings,
            inherited=inherited,
            progress=progress,
            parts=restoring.parts,
        )
        await files.bring()

    return Plan(
        kind=KIND,
        steps=(
            Step(
                name="rebuild", title="rebuilding beside the live data", do=build, undo=files.drop
            ),
            Step(name="stop", title="stopping", do=services.stop),
            Step(
                name="exchange",
                title="exchanging the data",
                do=files.exchange,
                undo=files.exchange_back,
            ),
            Step(
                name="secrets",
                title="putting secrets and settings in place",
                do=files.place_secrets,
                undo=files.replace_secrets_back,
            ),
            Step(name="tidy", title="tidying up", do=files.tidy),
        ),
        commit="secrets",
    )


class FileSteps:
    """The steps that move files; each can be repeated from wherever it was cut off."""

    def __init__(self, restoring: Restoring) -> None:
        self._restoring = restoring
        self._folders = restoring.settings.folders

    async def bring(self) -> None:
        """Put each rebuilt store beside the live one; raises MisconfiguredError."""
        await asyncio.to_thread(self._bring)

    def _bring(self) -> None:
        for part, folder in self._restoring.stores:
            source = self._restoring.folder / part.value
            try:
                if source.exists():
                    bring(source, folder)
            except OSError as error:
                raise unwritable(folder, error) from error

    async def drop(self) -> None:
        """Remove everything rebuilt."""
        for _, folder in self._restoring.stores:
            if folder.is_dir():
                forget(folder, WAITING)
        shutil.rmtree(self._restoring.folder, ignore_errors=True)

    async def exchange(self) -> None:
        """Let the rebuilt stores take their places; raises MisconfiguredError."""
        for _, folder in self._restoring.stores:
            try:
                forward(folder)
            except OSError as error:
                raise unwritable(folder, error) from error

    async def exchange_back(self) -> None:
        """Put the live stores back; raises MisconfiguredError."""
        for _, folder in self._restoring.stores:
            try:
                backward(folder)
            except OSError as error:
                raise unwritable(folder, error) from error

    async def place_secrets(self) -> None:
        """Replace the secrets, and lay the settings where they are missing."""
        rebuilt = self._restoring.folder
        if Part.SECRETS in self._restoring.parts:
            before = rebuilt / _BEFORE
            if not before.exists():
                draft = rebuilt / f"{_BEFORE}.writing"
                shutil.rmtree(draft, ignore_errors=True)
                ensure_folder(self._folders.secrets)
                shutil.copytree(self._folders.secrets, draft)
                draft.rename(before)
            _copy_secrets(rebuilt / "secrets", self._folders.secrets)
        if Part.CONFIG in self._restoring.parts:
            self._place_settings(rebuilt / "config")

    async def replace_secrets_back(self) -> None:
        """Put the secrets back that were there."""
        before = self._restoring.folder / _BEFORE
        if before.exists():
            _copy_secrets(before, self._folders.secrets)

    def _place_settings(self, source: Path) -> None:
        if not source.is_dir():
            return
        home = self._restoring.config_file
        for path in sorted(source.rglob("*")):
            if not path.is_file():
                continue
            name = str(path.relative_to(source))
            if name == PLACES_NAME:
                self._place_places(path)
                continue
            target = self._restoring.settings.data_dir / KEPT_SETTINGS / name
            if name.startswith("data_dir/"):
                live = self._folders.root / name.removeprefix("data_dir/")
            else:
                live = home.parent / name if home is not None else target
            if not live.exists() and live.parent.parent.is_dir():
                target = live
            ensure_folder(target.parent)
            write_atomic(target, path.read_bytes())

    def _place_places(self, source: Path) -> None:
        """Bring the database of places where none is, readable for those who run the appliance."""
        live = self._folders.places_file
        if live.exists():
            return
        try:
            ensure_folder(live.parent)
            source.chmod(PRIVATE_FILE)
            if os.geteuid() == 0:
                owner = self._folders.run.stat()
                for path in (live.parent, source):
                    os.chown(path, owner.st_uid, owner.st_gid)
            shutil.move(source, live)
            flush_folder(live.parent)
        except OSError as error:
            raise unwritable(live, error) from error

    async def tidy(self) -> None:
        """Remove what was only needed on the way, and what replaced nothing."""
        for _, folder in self._restoring.stores:
            with suppress(OSError):
                (folder / REPLACED).rmdir()
        shutil.rmtree(self._restoring.folder, ignore_errors=True)


def forget_replaced(settings: Settings) -> int:
    """Remove the data that the last restore replaced; how many bytes that were."""
    folders = settings.folders
    freed = 0
    for folder in (folders.postgres, folders.clickhouse, folders.nats):
        replaced = folder / REPLACED
        freed += sum(path.lstat().st_size for path in replaced.rglob("*") if not path.is_dir())
        forget(folder, REPLACED)
    return freed


def _copy_secrets(source: Path, target: Path) -> None:
    names = [path.name for path in source.iterdir() if path.is_file()] if source.is_dir() else []
    if not names:
        raise DamagedError("BACKUP_DAMAGED", "the backup has no secrets")
    for name in sorted(names):
        write_atomic(target / name, (source / name).read_bytes())
