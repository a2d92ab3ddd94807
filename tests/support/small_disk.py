"""A disk of its own that a test may fill.

Invariant: it is a real file system (ext4 on a loop device, else tmpfs), and it is gone after the
block. Making one needs root; without root the test is skipped with that reason.
"""

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, *, mebibytes: int) -> Generator[Path]:
    """A mounted file system of this size, at `folder/disk`."""
    if os.geteuid() != 0:
        pytest.skip("making a small disk needs root")
    disk = folder / "disk"
    disk.mkdir(parents=True)
    if not (_mount_image(folder / "image", disk, mebibytes) or _mount_memory(disk, mebibytes)):
        pytest.skip("this machine lets nobody mount a file system")
    disk.chmod(0o711)
    try:
        yield disk
    finally:
        _run("umount", "--lazy", str(disk))
        (folder / "image").unlink(missing_ok=True)


def _mount_image(image: Path, disk: Path, mebibytes: int) -> bool:
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    return _run("mkfs.ext4", "-q", "-m", "0", str(image)) and _run(
        "mount", "-o", "loop", str(image), str(disk)
    )


def _mount_memory(disk: Path, mebibytes: int) -> bool:
    return _run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=711", "tmpfs", str(disk))


def _run(*argv: str) -> bool:
    try:
        return subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode == 0
    except FileNotFoundError:
        return False


class Filler:
    """Somebody else who takes the disk, and gives it back."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._path = disk / "somebody-else"

    @property
    def free_bytes(self) -> int:
        """What is left for everybody."""
        state = os.statvfs(self._disk)
        return state.f_bavail * state.f_frsize

    def leave(self, free_bytes: int) -> None:
        """Take everything but this much."""
        with self._path.open("ab") as file:
            step = 64 << 20
            while step >= 4096:
                size = os.fstat(file.fileno()).st_size
                if self.free_bytes - step < free_bytes:
                    step //= 2
                    continue
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                except OSError:
                    step //= 2

    def give_back(self) -> None:
        """Remove what was taken."""
        self._path.unlink()
