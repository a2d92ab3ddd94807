"""Take an unpacked bundle over into a folder of root's, verifying every byte on the way.

Invariant: what is compared with the manifest is what the release then consists of. A source that
somebody else could change is read once and written from that reading; only files and folders that
nobody but root can write are shared with the release (a hard link), and read afterwards. The target
appears whole under its name; `flush_release` has it on disk.
"""

import asyncio
import ctypes
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final, Protocol

from appliance.base.errors import UnmetError
from appliance.base.files import flush_folder, unwritable
from appliance.lifecycle.layout import PUBLIC_FILE, PUBLIC_FOLDER
from appliance.lifecycle.progress import Progress

EXIT_BUNDLE_REFUSED: Final = 5
_CHUNK_BYTES: Final = 1 << 20
_CLONE_FILE: Final = 0x40049409
"""FICLONE of linux/fs.h: share the blocks of another file until one of them is written."""
_WORKERS_MAX: Final = 4
_WRITABLE_BY_OTHERS: Final = 0o022
# A pipe in place of a file must not keep us waiting for its writer.
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class BundleDifferentError(UnmetError):
    """The files are not those the signed manifest names."""

    exit_status = EXIT_BUNDLE_REFUSED


class CopiedFile(Protocol):
    """What the manifest says about one file; `link` is the target of a symbolic link."""

    @property
    def path(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def link(self) -> str: ...


async def copy_release(
    source: Path,
    target: Path,
    files: Sequence[CopiedFile],
    *,
    sealed: dict[str, bytes],
    beside: Path,
    progress: Progress,
) -> bool:
    """Have exactly the manifest's files in `target`; whether anything had to be done for it.

    A power cut may still lose them, see `flush_release`.

    `sealed` are the manifest and its signature as they were verified. `beside` is a folder of
    root's on the same file system, where the copy is made. A complete target is left as it is.

    Raises UnmetError (exit status 5) naming the first file that is missing or different.
    """
    if await asyncio.to_thread(_is_complete, target, files, sealed):
        return False
    making = beside / f"{target.name}.copying"
    old = beside / f"{target.name}.replaced"
    for leftover in (making, old):
        await asyncio.to_thread(_clear, leftover)
    try:
        _make_folders(making, files)
        closed = await asyncio.to_thread(_closed_folders, source, files)
        await _each(
            files,
            lambda entry: _take_over(source, making, entry, closed=closed),
            progress=progress,
        )
        await asyncio.to_thread(_put_in_place, making, target, old, sealed)
    except OSError as error:
        raise unwritable(making, error) from error
    await asyncio.to_thread(_clear, old)
    return True


async def flush_release(target: Path) -> None:
    """Have a release on disk with one call; a flush of each file takes many times longer."""
    try:
        await asyncio.to_thread(flush_file_system, target)
    except OSError as error:
        raise unwritable(target, error) from error


def flush_file_system(path: Path) -> None:
    """Have everything on disk that was written to the file system of a folder; blocks."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _put_in_place(making: Path, target: Path, old: Path, sealed: dict[str, bytes]) -> None:
    for name, content in sealed.items():
        _write_new(making / name, content)
    if target.exists():
        target.rename(old)
    making.rename(target)
    flush_folder(target.parent)


async def _each(
    files: Sequence[CopiedFile],
    work: Callable[[CopiedFile], None],
    *,
    progress: Progress,
) -> None:
    """Do something with every file, the large ones first, on all processors."""
    total = sum(entry.size for entry in files)
    done = 0
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(min(_WORKERS_MAX, len(os.sched_getaffinity(0)))) as pool:
        pending = {
            loop.run_in_executor(pool, work, entry): entry
            for entry in sorted(files, key=lambda entry: -entry.size)
        }
        try:
            for future in asyncio.as_completed(list(pending)):
                await future
                done = sum(entry.size for one, entry in pending.items() if one.done())
                progress.amount(done, total)
        finally:
            for future in pending:
                future.cancel()


def _make_folders(root: Path, files: Sequence[CopiedFile]) -> None:
    folders = {Path()}
    for entry in files:
        folders.update(Path(entry.path).parents)
    for folder in sorted(folders):
        path = root / folder
        path.mkdir()
        path.chmod(PUBLIC_FOLDER)


def _closed_folders(source: Path, files: Sequence[CopiedFile]) -> frozenset[Path]:
    """The folders of the source that nobody but root can change, nor any folder above them."""
    if os.geteuid() != 0 or not all(map(_is_roots_own, source.resolve().parents)):
        return frozenset()
    folders = {source / parent for entry in files for parent in Path(entry.path).parents}
    found: set[Path] = set()
    for folder in sorted(folders):
        if _is_roots_own(folder) and (folder == source or folder.parent in found):
            found.add(folder)
    return frozenset(found)


def _is_roots_own(path: Path) -> bool:
    found = path.lstat()
    return found.st_uid == 0 and not found.st_mode & _WRITABLE_BY_OTHERS


def _take_over(source: Path, target: Path, entry: CopiedFile, *, closed: frozenset[Path]) -> None:
    path = target / entry.path
    if entry.link:
        path.symlink_to(entry.link)
        return
    with _open_source(source / entry.path, entry) as reading:
        found = os.fstat(reading.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
            raise _different(entry, f"{found.st_size} bytes instead of {entry.size}")
        own = found.st_uid == 0 and stat.S_IMODE(found.st_mode) == int(entry.mode, 8)
        if own and (source / entry.path).parent in closed and _share(source / entry.path, path):
            digest = _digest(reading.fileno())
        else:
            digest = _copy(reading.fileno(), path, entry)
    if digest != entry.sha256:
        raise _different(entry, "its checksum is another")


def _open_source(path: Path, entry: CopiedFile) -> FileIO:
    try:
        return FileIO(os.open(path, _READ_FLAGS), "rb")
    except OSError as error:
        raise _different(entry, os.strerror(error.errno or 0)) from error


def _share(source: Path, path: Path) -> bool:
    """Give a file a second name; another file system or many names make it impossible."""
    try:
        os.link(source, path, follow_symlinks=False)
    except OSError:
        return False
    return True


def _copy(source: int, path: Path, entry: CopiedFile) -> str:
    """Write a file of our own and its checksum."""
    with path.open("xb+", buffering=0) as writing:
        os.fchmod(writing.fileno(), int(entry.mode, 8))
        if _clone(source, writing.fileno()):
            return _digest(writing.fileno())
        return _copy_bytes(source, writing.fileno(), entry.size)


def _clone(source: int, target: int) -> bool:
    """Share the blocks where the file system can; takes no time and no space."""
    try:
        fcntl.ioctl(target, _CLONE_FILE, source)
    except OSError:
        return False
    return True


def _copy_bytes(source: int, target: int, size: int) -> str:
    """Write what is read, and the checksum of exactly that."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    left = size
    while left > 0:
        count = os.readv(source, [buffer[: min(left, _CHUNK_BYTES)]])
        if count == 0:
            break
        digest.update(buffer[:count])
        written = 0
        while written < count:
            written += os.write(target, buffer[written:count])
        left -= count
    return digest.hexdigest()


def _digest(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_complete(target: Path, files: Sequence[CopiedFile], sealed: dict[str, bytes]) -> bool:
    """Whether a folder holds exactly these files, byte for byte."""
    try:
        wanted = {entry.path for entry in files} | set(sealed)
        found = {
            os.path.relpath(Path(parent, name), target)
            for parent, folders, names in os.walk(target)
            for name in [*names, *(one for one in folders if Path(parent, one).is_symlink())]
        }
        return (
            found == wanted
            and all((target / name).read_bytes() == content for name, content in sealed.items())
            and all(_is_same(target / entry.path, entry) for entry in files)
        )
    except OSError:
        return False


def _is_same(path: Path, entry: CopiedFile) -> bool:
    if entry.link:
        return path.is_symlink() and str(path.readlink()) == entry.link
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
        return False
    if stat.S_IMODE(found.st_mode) != int(entry.mode, 8):
        return False
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256


def _write_new(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(PUBLIC_FILE)


def _clear(path: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def _different(entry: CopiedFile, how: str) -> BundleDifferentError:
    return BundleDifferentError(
        "BUNDLE_DIFFERENT",
        f"{entry.path} is not as the signed manifest says: {how}",
        hint="unpack the tarball again; when that does not help, copy it again and compare its "
        "checksum with the publisher's",
    )
