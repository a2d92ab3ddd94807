"""Write a verified release into a folder of root's, file by file.

Invariant: a file is made under its name exactly once, never through a link, with an explicit mode;
a folder without manifest is no release, so an interrupted one is only a leftover.
"""

import os
from pathlib import Path
from typing import BinaryIO

from appliance.lifecycle.bundle import Head
from appliance.lifecycle.layout import MANIFEST_NAME, PUBLIC_FILE, PUBLIC_FOLDER, SIGNATURE_NAME
from appliance.lifecycle.manifest import FileEntry
from appliance.lifecycle.release_tree import KnownFiles


class ReleaseWriter:
    """Writes the files of a release into a folder of root's, or links those that are there.

    `known` are the verified files of an installed release; what is among them is linked instead of
    written, so that releases share their disk space.
    """

    def __init__(self, folder: Path, known: KnownFiles) -> None:
        self._folder = folder
        self._known = known
        self._file: BinaryIO | None = None
        self.linked_bytes = 0

    def knows(self, entry: FileEntry) -> bool:
        """Whether an installed file can be linked for this entry."""
        return (entry.sha256, entry.mode) in self._known.by_content

    def has_source(self, path: Path) -> bool:
        """Whether this is an installed file that was verified."""
        return path in self._known.paths

    def make_folders(self, paths: list[str]) -> None:
        """Make the folder of the release and those inside."""
        for path in (self._folder, *(self._folder / one for one in paths)):
            path.mkdir()
            path.chmod(PUBLIC_FOLDER)

    def begin(self, entry: FileEntry) -> None:
        path = self._folder / entry.path
        self._file = None
        if entry.link:
            path.symlink_to(entry.link)
            return
        twin = self._known.by_content.get((entry.sha256, entry.mode))
        if twin is not None:
            os.link(twin, path)
            self.linked_bytes += entry.size
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        os.fchmod(descriptor, int(entry.mode, 8))
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def feed(self, chunk: bytes) -> None:
        if self._file is not None:
            left = memoryview(chunk)
            while left:
                left = left[self._file.write(left) :]

    def end(self, entry: FileEntry) -> None:
        del entry
        self.close()

    def close(self) -> None:
        """Let go of a file that was not finished."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def seal(self, head: Head) -> None:
        """Add manifest and signature, which make the folder a release."""
        for name, content in (
            (MANIFEST_NAME, head.manifest_bytes),
            (SIGNATURE_NAME, head.signature_bytes),
        ):
            path = self._folder / name
            path.write_bytes(content)
            path.chmod(PUBLIC_FILE)
