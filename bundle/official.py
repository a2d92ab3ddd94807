"""An official ClickHouse server in the bundle, beside chDB.

Invariant: the tarball is used only when its SHA-256 is the one that was given; of it, the server's
one program and its licence are taken. It is an alternative engine, nothing starts it by itself.
"""

import hashlib
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

from bundle.owners import APPLIANCE
from bundle.places import PROGRAM_MODE, Entry

_FOLDER: Final = "engines/clickhouse"
_PROGRAM: Final = "usr/bin/clickhouse"
_LICENCE: Final = "LICENSE"
_CHUNK_BYTES: Final = 1 << 20


def official_clickhouse(tarball: Path, checksum: str, work: Path) -> list[Entry]:
    """The files of the server.

    Raises ValueError for another checksum or a tarball without the program.
    """
    with tarball.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != checksum.lower():
        raise ValueError(f"{tarball} has the SHA-256 {found}, not {checksum}")
    program = work / "clickhouse"
    entries: list[Entry] = []
    with tarfile.open(tarball) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if not member.isreg():
                continue
            file = archive.extractfile(member)
            assert file is not None
            if str(path).endswith(_PROGRAM):
                with program.open("wb") as output:
                    while chunk := file.read(_CHUNK_BYTES):
                        output.write(chunk)
            elif path.name == _LICENCE:
                entries.append(
                    Entry(path=f"{_FOLDER}/{_LICENCE}", component=APPLIANCE, content=file.read())
                )
    if not program.exists():
        raise ValueError(f"{tarball} holds no {_PROGRAM}; is it clickhouse-common-static?")
    entries.append(
        Entry(path=f"{_FOLDER}/clickhouse", component=APPLIANCE, mode=PROGRAM_MODE, source=program)
    )
    return entries[-2:]
