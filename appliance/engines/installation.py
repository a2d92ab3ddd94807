"""Take hold of a data directory before anything is started in it.

Invariant: while an Installation is open, this process holds the lock, no process of an earlier
supervisor is left, the folders exist with their modes, and the secrets are made.
"""

import os
import secrets as randomness
import shutil
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock, SystemClock
from appliance.base.errors import ConflictError, MisconfiguredError
from appliance.base.files import FileLock, ensure_folder, unwritable, write_atomic
from appliance.base.units import Bytes
from appliance.config.model import Settings
from appliance.config.secrets import SecretName, ensure_secrets, load_secret
from appliance.engines.ballast import Ballast, BallastChange, Move
from appliance.supervisor.component import Transition
from appliance.supervisor.identity import Registry, end_leftovers
from appliance.supervisor.output import SUPERVISOR, Listener, LogBook, LogPolicy
from appliance.supervisor.surroundings import Surroundings
from appliance.version import RELEASE, RELEASE_NUMBER

FREE_BYTES_MIN: Final = Bytes(256 << 20)
RESTART_BYTES_MIN: Final = Bytes(32 << 20)
"""Enough for engines that have their files already: a full disk must not keep answers away."""
_LEFTOVER_SECONDS_MAX: Final = 20.0
_RELEASE_FILE: Final = "release.json"
_JITTER_STEPS: Final = 1 << 16


class _ReleaseMark(msgspec.Struct, frozen=True, kw_only=True):
    release: str
    number: int


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """A data directory that is ours for now."""

    settings: Settings
    book: LogBook
    registry: Registry
    clock: Clock

    def surroundings(
        self,
        *,
        inherited: Mapping[str, str],
        on_change: Callable[[Transition], None] | None = None,
        start_failures_max: int | None = None,
    ) -> Surroundings:
        """What a supervisor in this directory needs."""
        return Surroundings(
            book=self.book,
            registry=self.registry,
            clock=self.clock,
            jitter=_jitter,
            inherited=inherited,
            on_change=on_change,
            start_failures_max=start_failures_max,
        )


@asynccontextmanager
async def open_installation(
    settings: Settings, *, listener: Listener | None = None, clock: Clock | None = None
) -> AsyncGenerator[Installation]:
    """Hold a data directory for the length of a block.

    Raises ConflictError when another supervisor holds it, MisconfiguredError when it cannot be
    written, is too full, or a secret is missing or exposed.
    """
    folders = settings.folders
    released = Ballast(settings).keep(take=False)
    check_free_space(folders.root, begun=settings.installed)
    if settings.installed:
        # The folder is root's, and the life cycle decides which release may use it.
        check_writable(folders.run)
    else:
        if not folders.root.exists():
            ensure_folder(folders.root)
        check_writable(folders.root)
        check_release(folders.root)
        ensure_folder(folders.run)
    lock = FileLock(folders.lock_file)
    try:
        lock.acquire()
    except ConflictError as error:
        raise ConflictError(
            "ALREADY_RUNNING",
            f"an appliance runs on {folders.root} already ({error.message.rpartition(' by ')[2]})",
            hint="stop it with `pug-appliance stop`, or choose another data_dir",
        ) from error
    try:
        if not settings.installed:
            ensure_secrets(folders.secrets)
        for name in SecretName:
            load_secret(folders.secrets, name)
        chosen_clock = clock or SystemClock()
        book = LogBook(
            folders.logs, clock=chosen_clock, policy=log_policy(settings), listener=listener
        )
        try:
            registry = Registry(folders.run / "processes.json")
            ended = await end_leftovers(registry.leftovers(), budget_seconds=_LEFTOVER_SECONDS_MAX)
            if released is not None:
                note_ballast(book, released)
            if ended:
                book.note("supervisor", "leftovers_ended", "warning", pids=list(ended))
            yield Installation(settings=settings, book=book, registry=registry, clock=chosen_clock)
        finally:
            book.close()
    finally:
        lock.release()


def note_ballast(book: LogBook, change: BallastChange) -> None:
    """Tell the operator that the disk is full, or has room again."""
    full = change.move is Move.RELEASE
    book.note(
        SUPERVISOR,
        "disk_full_ballast_released" if full else "ballast_taken",
        "error" if full else "info",
        free=str(Bytes(change.free_bytes)),
        ballast=str(Bytes(change.size_bytes)),
    )


def log_policy(settings: Settings) -> LogPolicy:
    """How much of the logs is kept."""
    return LogPolicy(
        level=settings.logs.level,
        file_bytes_max=settings.logs.file_bytes_max,
        files_max=settings.logs.files_max,
    )


def check_writable(folder: Path) -> None:
    """Find out now, with one small file, whether the data directory can be written.

    Raises MisconfiguredError naming the path and the remedy.
    """
    probe = folder / ".writable"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, bytes(4096))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def check_release(folder: Path) -> None:
    """Refuse a data directory that a newer release has used, and note that this one uses it.

    Raises MisconfiguredError naming both releases.
    """
    path = folder / _RELEASE_FILE
    ours = _ReleaseMark(release=RELEASE, number=RELEASE_NUMBER)
    try:
        theirs = msgspec.json.decode(path.read_bytes(), type=_ReleaseMark)
    except FileNotFoundError:
        theirs = None
    except (OSError, msgspec.DecodeError) as error:
        raise MisconfiguredError(
            "RELEASE_UNREADABLE",
            f"{path} cannot be read",
            hint="restore it from a backup, or remove it when this release wrote the folder",
        ) from error
    if theirs is not None and theirs.number > ours.number:
        raise MisconfiguredError(
            "RELEASE_TOO_OLD",
            f"{folder} was used by release {theirs.release}, this is {ours.release}",
            hint="install that release or a newer one, or choose another data_dir",
        )
    if theirs != ours:
        write_atomic(path, msgspec.json.encode(ours))


def check_free_space(folder: Path, *, begun: bool = False) -> None:
    """Refuse a disk on which the engines could not even begin, or begin again.

    `begun` says that they have begun before, without looking for our mark.
    Raises MisconfiguredError naming path, what is free and what is needed.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    begun = begun or (folder / _RELEASE_FILE).exists()
    needed = RESTART_BYTES_MIN if begun else FREE_BYTES_MIN
    if free < needed and not os.statvfs(existing).f_flag & os.ST_RDONLY:
        raise MisconfiguredError(
            "DISK_FULL",
            f"only {free >> 20} MiB are free on the disk of {folder}, {needed} are needed",
            hint="free space or choose another data_dir",
        )


def _jitter() -> float:
    return randomness.randbelow(_JITTER_STEPS) / _JITTER_STEPS
