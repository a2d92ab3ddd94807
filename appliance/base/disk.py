"""How much of a disk is left for us.

Invariant: what only root may still take is not counted, because no engine runs as root.
"""

import os
from collections.abc import Iterable
from pathlib import Path


def free_bytes(paths: Iterable[Path]) -> int:
    """Bytes that are free on the fullest of the disks these paths lie on.

    A path that does not exist or may not be looked at counts as its nearest reachable parent.
    """
    return min(_free(path) for path in paths)


def _free(path: Path) -> int:
    for candidate in (path, *path.parents):
        try:
            state = os.statvfs(candidate)
        except OSError:
            continue
        return state.f_bavail * state.f_frsize
    return 0
