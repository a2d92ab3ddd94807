"""Exchange what an engine's folder holds, by renames alone, forwards and backwards.

Invariant: after any interruption `forward` or `backward` brings the folder to wholly new or wholly
old. The folder itself stays (it may be a mount point, and it has its owner and mode); the names in
it tell how far an exchange is: `.restoring` waits, `.arriving` moves in, `.replaced` is what was.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.base.files import ensure_folder, flush_folder
from appliance.lifecycle.backup.flushing import flush_file_system
from appliance.supervisor.account import own_tree
from appliance.supervisor.spec import Account

WAITING: Final = ".restoring"
ARRIVING: Final = ".arriving"
REPLACED: Final = ".replaced"
_RESERVED: Final = frozenset({WAITING, ARRIVING, REPLACED, "lost+found"})

Move = Callable[[Path, Path], None]


def move(path: Path, target: Path) -> None:
    """One rename, for those who do not want to be there when it is cut off."""
    path.rename(target)


def bring(source: Path, folder: Path) -> None:
    """Put a rebuilt folder beside what an engine has, with the engine's owner; raises OSError."""
    ensure_folder(folder)
    waiting = folder / WAITING
    shutil.rmtree(waiting, ignore_errors=True)
    shutil.rmtree(folder / REPLACED, ignore_errors=True)
    found = folder.stat()
    if os.geteuid() == 0 and found.st_uid != 0:
        own_tree(source, Account(uid=found.st_uid, gid=found.st_gid))
    if source.stat().st_dev == found.st_dev:
        source.rename(waiting)
    else:
        shutil.copytree(source, waiting, symlinks=True)
        if os.geteuid() == 0:
            own_tree(waiting, Account(uid=found.st_uid, gid=found.st_gid))
        flush_file_system(folder)
    flush_folder(folder)


def forward(folder: Path, *, rename: Move = move) -> None:
    """Let what waits take the place of what is there; raises OSError."""
    waiting, arriving, replaced = folder / WAITING, folder / ARRIVING, folder / REPLACED
    if waiting.exists():
        _make_like(folder, replaced)
        _move_all(folder, replaced, rename)
        flush_folder(replaced)
        rename(waiting, arriving)
        flush_folder(folder)
    if arriving.exists():
        _move_all(arriving, folder, rename)
        flush_folder(folder)
        arriving.rmdir()
        flush_folder(folder)


def backward(folder: Path, *, rename: Move = move) -> None:
    """Put back what was there; what had arrived waits again. Raises OSError."""
    waiting, arriving, replaced = folder / WAITING, folder / ARRIVING, folder / REPLACED
    if not replaced.exists():
        return
    if not waiting.exists():
        _make_like(folder, arriving)
        _move_all(folder, arriving, rename)
        flush_folder(arriving)
        rename(arriving, waiting)
        flush_folder(folder)
    _move_all(replaced, folder, rename)
    flush_folder(folder)
    replaced.rmdir()
    flush_folder(folder)


def forget(folder: Path, name: str) -> None:
    """Remove what waits or what was replaced."""
    assert name in _RESERVED, "only names of this module"
    shutil.rmtree(folder / name, ignore_errors=True)


def _make_like(folder: Path, inner: Path) -> None:
    """A folder inside, with the same owner."""
    inner.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        found = folder.stat()
        os.chown(inner, found.st_uid, found.st_gid)


def _move_all(source: Path, target: Path, rename: Move) -> None:
    for path in sorted(source.iterdir()):
        if path.name not in _RESERVED:
            rename(path, target / path.name)
