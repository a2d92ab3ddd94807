"""A file that is given up when the disk is full, so that engines can go on or start again.

Invariant: the ballast is held only while there is plenty of room, given up before anybody has to
wait for it, and taken again by itself. It is space and nothing else: its content is never read.
"""

import os
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.disk import free_bytes
from appliance.base.files import PRIVATE_FILE, ensure_folder
from appliance.config.folders import Folders
from appliance.config.model import Settings

LOOK_SECONDS: Final = 0.5
_RELEASE_SHARE: Final = 4
"""Given up when no more than this part of its size is free beside it."""


class Move(Enum):
    """What to do with the ballast now."""

    NOTHING = "nothing"
    RELEASE = "release"
    TAKE = "take"


def plan_ballast(*, free: int, held: int, wanted: int, reserve: int) -> Move:
    """Decide from the bytes that are free, held, wanted, and kept in reserve for the engines."""
    if held and (free < wanted // _RELEASE_SHARE or not wanted):
        return Move.RELEASE
    if held < wanted and free >= max(reserve, wanted) + wanted - held:
        return Move.TAKE
    return Move.NOTHING


class BallastChange(msgspec.Struct, frozen=True, kw_only=True):
    """The ballast was given up or taken; bytes free before."""

    move: Move
    free_bytes: int
    size_bytes: int


class Ballast:
    """The ballast of one data directory."""

    def __init__(self, settings: Settings) -> None:
        folders = settings.folders
        self._path = folders.ballast_file
        self._watched = (folders.root, folders.postgres, folders.nats, folders.clickhouse)
        self._wanted = int(settings.disk.ballast)
        self._reserve = int(settings.disk.reserve)

    def keep(self, *, take: bool = True) -> BallastChange | None:
        """Do what is to be done now; what was done, if anything. Without `take` only release.

        A disk that is too full for the ballast, or cannot be written, is no failure.
        """
        free = free_bytes(self._watched)
        held = self._held()
        move = plan_ballast(free=free, held=held, wanted=self._wanted, reserve=self._reserve)
        if move is Move.NOTHING or (move is Move.TAKE and not take):
            return None
        done = self._release() if move is Move.RELEASE else self._take()
        if not done:
            return None
        size = held if move is Move.RELEASE else self._wanted
        return BallastChange(move=move, free_bytes=free, size_bytes=size)

    def _held(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _release(self) -> bool:
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def _take(self) -> bool:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            ensure_folder(self._path.parent)
            descriptor = os.open(self._path, flags, PRIVATE_FILE)
        except Exception:  # noqa: BLE001 without ballast the appliance works as well
            return False
        try:
            os.posix_fallocate(descriptor, 0, self._wanted)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)
        return True


def ballast_path(data_dir: Path) -> Path:
    """Where the ballast of a data directory is, for whoever explains what takes the disk."""
    return Folders(root=data_dir).ballast_file
