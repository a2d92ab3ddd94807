"""Files that are whole or absent, with modes that no umask changes.

Invariant: a written file is complete on disk before its name appears: written beside, flushed,
renamed, folder flushed. Locks are `flock`, so a crash releases them.
"""

import errno
import fcntl
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from appliance.base.errors import ConflictError, MisconfiguredError

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700


def write_atomic(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `content` so that a power cut leaves the old or the new, never a part.

    Raises MisconfiguredError naming the path when the folder cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise unwritable(path.parent, error) from error
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def flush_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_folder(path: Path, *, mode: int = PRIVATE_FOLDER) -> Path:
    """Make a folder with exactly this mode; parents are made with the same mode.

    Raises MisconfiguredError naming the path when it cannot be made.
    """
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
        if path.stat().st_mode & 0o7777 != mode and path.stat().st_uid == os.geteuid():
            path.chmod(mode)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def unwritable(path: Path, error: OSError) -> MisconfiguredError:
    """The error of a file or folder that could not be written, with its remedy."""
    remedies = {
        errno.EROFS: "the file system is read-only; mount it read-write or choose another data_dir",
        errno.EACCES: "make it writable for this user or choose another data_dir",
        errno.EPERM: "make it writable for this user or choose another data_dir",
        errno.ENOSPC: "the disk is full; free space or choose another data_dir",
        errno.EDQUOT: "the disk quota is used up; raise it or choose another data_dir",
        errno.ENOTDIR: "a file stands where a folder is needed; choose another data_dir",
    }
    return MisconfiguredError(
        "PATH_UNWRITABLE",
        f"cannot write {path}: {os.strerror(error.errno or 0)}",
        hint=remedies.get(error.errno or 0, "check the path and the permissions"),
    )


class FileLock:
    """An exclusive `flock` on a file that also tells who holds it.

    The file keeps the holder's pid as text for people; the lock itself is the kernel's, so it ends
    with the process whatever happens.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock at once, or raise ConflictError naming the holder's pid."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        except OSError as error:
            raise unwritable(self._path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConflictError(
                "LOCK_HELD",
                f"{self._path} is locked by pid {holder or 'unknown'}",
                hint="stop that process or choose another data_dir",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; the file stays, because removing it would race with a taker."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
