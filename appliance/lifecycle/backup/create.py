"""Make a backup: a moment of all stores, packed into items, kept in a target, sealed.

Invariant: the installation is not changed, and until the manifest appears the target holds exactly
the backups it held before. Everything left by a backup that was cut off is removed by the next one.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, MisconfiguredError, UnavailableError
from appliance.base.files import FileLock, ensure_folder, unwritable
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.engines.clickhouse import check_clickhouse
from appliance.lifecycle.backup.capture import (
    Capture,
    Snapshot,
    remove_snapshots,
    work_folder,
)
from appliance.lifecycle.backup.engines import engines_running, needs_own
from appliance.lifecycle.backup.hold import is_running
from appliance.lifecycle.backup.model import (
    PLACES_NAME,
    Item,
    Manifest,
    PackedFile,
    Part,
    Summary,
)
from appliance.lifecycle.backup.note import note_newest
from appliance.lifecycle.backup.packing import (
    describe_files,
    digest_files,
    fingerprint,
    group_files,
)
from appliance.lifecycle.backup.pool import Pool
from appliance.lifecycle.backup.stages import stage
from appliance.lifecycle.progress import Progress
from appliance.version import RELEASE, RELEASE_NUMBER

_LOCK_NAME: Final = "backup.lock"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What is backed up: an installation, its configuration file, and what it was started with."""

    settings: Settings
    config_file: Path | None
    inherited: Mapping[str, str]


class _Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """Files of a snapshot that make one item, not read yet."""

    part: Part
    name: str
    source: Path
    files: tuple[PackedFile, ...]
    fingerprint: str


class _Draft(msgspec.Struct, frozen=True, kw_only=True):
    item: Item
    source: Path
    known: bool


async def create_backup(
    origin: Origin,
    target: Path,
    passphrase: Secret | None,
    *,
    reason: str,
    clock: Clock,
    progress: Progress,
) -> Summary:
    """Make one backup in `target`.

    Raises ApplianceError when a store does not answer, the target cannot be written, is too full,
    or is sealed with another passphrase; the target then holds what it held before.
    """
    settings = origin.settings
    started = clock.monotonic_seconds()
    with Pool.open(target, passphrase, make=True) as pool, snapshot_lock(settings):
        remove_snapshots(settings)
        listed = pool.backups()
        name = unused_name(clock, {one.id for one in listed})
        try:
            async with engines_answering(origin):
                capture = Capture(settings, clock=clock, progress=progress, name=name)
                snapshot = await capture.run()
            snapshot = await asyncio.to_thread(add_configuration, origin, snapshot)
            with stage(progress, clock, "read", "reading what has changed"):
                drafts = await _draft(pool, snapshot, progress)
            with stage(progress, clock, "store", "writing to the target"):
                added = await _store(pool, drafts, progress)
            manifest = describe(
                snapshot,
                tuple(draft.item for draft in drafts),
                name=name,
                sequence=next_sequence(one.summary for one in listed),
                reason=reason,
                encrypted=pool.sealed,
                added=added,
                seconds=clock.monotonic_seconds() - started,
            )
            with stage(progress, clock, "seal", "flushing and sealing"):
                await asyncio.to_thread(pool.seal, manifest)
            # The backup is made; that reminders do not know of it is no reason to call it failed.
            with suppress(ApplianceError):
                note_newest(settings, clock)
        finally:
            remove_snapshots(settings)
    return manifest.summary


def unused_name(clock: Clock, taken: set[str]) -> str:
    """A name for a backup made now: its instant, and a number if there is one already."""
    base = clock.now().strftime("%Y%m%dT%H%M%SZ")
    number = 1
    name = base
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def next_sequence(made: Iterable[Summary | None]) -> int:
    """The place of a backup made now in the order of those that were made before."""
    return max((one.sequence for one in made if one is not None), default=0) + 1


def snapshot_lock(settings: Settings) -> FileLock:
    """Only one snapshot of an installation is made at a time."""
    return FileLock(ensure_folder(settings.folders.run) / _LOCK_NAME)


@asynccontextmanager
async def engines_answering(origin: Origin) -> AsyncGenerator[None]:
    """The engines of the installation: those that run, else started for the length of the block.

    Raises ConflictError when somebody holds the data directory without answering.
    """
    settings = origin.settings
    if not settings.data_dir.is_dir():
        raise MisconfiguredError(
            "NOTHING_INSTALLED",
            f"there is nothing to back up in {settings.data_dir}",
            hint="name the folder with --data-dir or the settings with --config",
        )
    if await is_running(settings) or await _answers(settings):
        yield
        return
    if settings.installed:
        raise UnavailableError(
            "ENGINES_DOWN",
            "the engines do not answer",
            hint="run `systemctl start pug.target`, then try again",
        )
    async with engines_running(settings, inherited=origin.inherited, names=needs_own(settings)):
        yield


async def _answers(settings: Settings) -> bool:
    try:
        await check_clickhouse(resolve_endpoints(settings).clickhouse)
    except (ApplianceError, OSError, EOFError):
        return False
    return True


def add_configuration(origin: Origin, snapshot: Snapshot) -> Snapshot:
    """Copy secrets and settings to where the rest of the snapshot is; raises MisconfiguredError."""
    work = work_folder(origin.settings, snapshot.name)
    folders = {}
    try:
        for part, sources in (
            (Part.SECRETS, _files_below(origin.settings.folders.secrets)),
            (Part.CONFIG, _configuration_files(origin)),
        ):
            folder = ensure_folder(work / part.value)
            for name, path in sources.items():
                ensure_folder((folder / name).parent)
                _keep(path, folder / name)
            folders[part] = folder
    except OSError as error:
        raise unwritable(work, error) from error
    return msgspec.structs.replace(snapshot, folders=snapshot.folders | folders)


def _configuration_files(origin: Origin) -> dict[str, Path]:
    files: dict[str, Path] = {}
    if origin.config_file is not None and origin.config_file.exists():
        files["appliance.toml"] = origin.config_file
        for name in ("tls", "trusted-keys"):
            beside = _files_below(origin.config_file.parent / name)
            files |= {f"{name}/{path}": full for path, full in beside.items()}
    own = _files_below(origin.settings.data_dir / "tls")
    files |= {f"data_dir/tls/{path}": full for path, full in own.items()}
    places = origin.settings.folders.places_file
    return files | ({PLACES_NAME: places} if places.exists() else {})


def _keep(path: Path, copy: Path) -> None:
    """A copy; of what is large and exchanged as a whole a second name is enough."""
    if copy.name == Path(PLACES_NAME).name:
        with suppress(OSError):
            copy.hardlink_to(path)
            return
    shutil.copyfile(path, copy)


def _files_below(folder: Path) -> dict[str, Path]:
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


async def _draft(pool: Pool, snapshot: Snapshot, progress: Progress) -> tuple[_Draft, ...]:
    """Every item, read once unless its fingerprint is known; tells which objects are missing."""
    by_fingerprint, whole = await asyncio.to_thread(_known, pool)
    found = await asyncio.to_thread(lambda: tuple(_find(snapshot)))
    total = sum(
        sum(one.size for one in sighting.files)
        for sighting in found
        if sighting.fingerprint not in by_fingerprint
    )
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        progress.amount(done, total)

    drafts: list[_Draft] = []
    for sighting in found:
        before = by_fingerprint.get(sighting.fingerprint) if sighting.fingerprint else None
        if before is not None and before.object in whole:
            drafts.append(_Draft(item=before, source=sighting.source, known=True))
            continue
        # One at a time, so that an interruption does not wait for all of them.
        digest = await asyncio.to_thread(digest_files, sighting.source, sighting.files, tell)
        item = _describe_item(pool, sighting, digest)
        drafts.append(_Draft(item=item, source=sighting.source, known=item.object in whole))
        whole.add(item.object)
    return tuple(drafts)


def _known(pool: Pool) -> tuple[dict[str, Item], set[str]]:
    """What sealed backups have: items by fingerprint, and the objects that are there."""
    by_fingerprint: dict[str, Item] = {}
    whole: set[str] = set()
    for item in pool.known_items():
        if item.object not in whole and pool.object_path(item.object).exists():
            whole.add(item.object)
        if item.fingerprint:
            by_fingerprint[item.fingerprint] = item
    return by_fingerprint, whole


def _find(snapshot: Snapshot) -> Iterator[_Sighting]:
    for part, folder in snapshot.folders.items():
        groups = group_files(part, folder, tables=snapshot.tables, dump_names=snapshot.dump_names)
        for name, paths in groups:
            files = describe_files(folder, paths)
            yield _Sighting(
                part=part,
                name=name,
                source=folder,
                files=files,
                fingerprint=fingerprint(folder, files),
            )


def _describe_item(pool: Pool, sighting: _Sighting, digest: str) -> Item:
    return Item(
        part=sighting.part,
        name=sighting.name,
        object=pool.name_of(digest),
        digest=digest,
        size=sum(one.size for one in sighting.files),
        files=sighting.files,
        fingerprint=sighting.fingerprint,
    )


async def _store(pool: Pool, drafts: tuple[_Draft, ...], progress: Progress) -> int:
    missing = [draft for draft in drafts if not draft.known]
    total = sum(draft.item.size for draft in missing)
    pool.check_room(total)
    done = added = 0
    for draft in missing:
        added += await asyncio.to_thread(pool.store, draft.item, draft.source)
        done += draft.item.size
        progress.amount(done, total)
    return added


def describe(
    snapshot: Snapshot,
    items: tuple[Item, ...],
    *,
    name: str,
    sequence: int,
    reason: str,
    encrypted: bool,
    added: int,
    seconds: float,
) -> Manifest:
    """The manifest of a finished snapshot."""
    return Manifest(
        summary=Summary(
            id=name,
            point=snapshot.point,
            reason=reason,
            release=RELEASE,
            release_number=RELEASE_NUMBER,
            encrypted=encrypted,
            items=len(items),
            bytes_total=sum(item.size for item in items),
            bytes_added=added,
            seconds=round(seconds, 3),
            hold_seconds=snapshot.hold_seconds,
            sequence=sequence,
        ),
        items=items,
        answers=snapshot.answers,
        streams=snapshot.streams,
        schema=snapshot.schema,
        ledger=snapshot.ledger,
        missing=snapshot.missing,
    )
