"""The manifest and its signature.

Invariant: the manifest is made from the entries that are packed, so a file that is not in it is not
in the tarball either, and is signed as the exact bytes that are packed.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from appliance.lifecycle.manifest import FORMAT, PRODUCT, FileEntry, Manifest
from appliance.lifecycle.signature import load_key, make_key
from bundle.elf import glibc_needed, is_elf
from bundle.places import ARCHITECTURE, Entry
from bundle.source import Source

_MIGRATIONS: Final = {
    "postgres": "appliance/storage/postgres/migrations",
    "nats": "appliance/storage/streams/definitions",
    "clickhouse": "appliance/storage/clickhouse/migrations",
}
_NUMBER: Final = re.compile(r"([0-9]{4})_")
_CONTRACTION: Final = re.compile(r"[0-9]{4}_contract_([0-9]{4})_")
_FIRST_SCHEMA: Final = 1


def newest_migrations(folder: Path) -> dict[str, int]:
    """The number of the newest migration of each store."""
    found: dict[str, int] = {}
    for store, part in _MIGRATIONS.items():
        numbers = [_NUMBER.match(path.name) for path in (folder / part).iterdir()]
        found[store] = max(int(match[1]) for match in numbers if match is not None)
    return found


def compatible_schemas(folder: Path) -> dict[str, int]:
    """The oldest schema of each store that a release must know to work beside this one.

    Every migration adds, but for contractions, whose name says what they need (decision 0014).
    """
    found: dict[str, int] = {}
    for store, part in _MIGRATIONS.items():
        needed = [_CONTRACTION.match(path.name) for path in (folder / part).iterdir()]
        found[store] = max((int(match[1]) for match in needed if match), default=_FIRST_SCHEMA)
    return found


def glibc_floor(entries: Sequence[Entry], *, scratch: Path) -> str:
    """The oldest glibc on which every ELF file of the release can be loaded."""
    newest = (0, 0)
    for entry in entries:
        path = entry.source
        if entry.link is not None:
            continue
        if path is None:
            path = scratch
            path.write_bytes(entry.read())
        if is_elf(path):
            newest = max(newest, glibc_needed(path))
    return f"{newest[0]}.{newest[1]}"


def manifest(
    source: Source,
    entries: Sequence[Entry],
    *,
    engines: dict[str, str],
    glibc: str,
    date: int,
    keys: Sequence[str],
) -> Manifest:
    """What the release declares."""
    schema = newest_migrations(source.folder)
    return Manifest(
        format=FORMAT,
        product=PRODUCT,
        version=source.version,
        release=source.release,
        architecture=ARCHITECTURE,
        glibc=glibc,
        upgrades_from=1,
        schema=schema,
        schema_compatible=compatible_schemas(source.folder),
        engines=engines,
        source_date=date,
        keys=tuple(keys),
        files=tuple(map(_described, entries)),
    )


def _described(entry: Entry) -> FileEntry:
    mode = f"{entry.mode:04o}"
    if entry.link is not None:
        return FileEntry(path=entry.path, mode=mode, link=entry.link)
    content = entry.read()
    digest = hashlib.sha256(content).hexdigest()
    return FileEntry(path=entry.path, sha256=digest, size=len(content), mode=mode)


def development_key(path: Path) -> SigningKey:
    """The key of bundles nobody else should trust; made once."""
    if not path.exists():
        make_key(path)
    return load_key(path)
