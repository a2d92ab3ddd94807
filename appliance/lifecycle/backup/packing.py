"""Which files of a snapshot make one item, and what people call it.

Invariant: each file belongs to exactly one item; items that stay the same from one backup to the
next (a part of a table, a full block of the queue) are items of their own, so they cost nothing
again.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from appliance.base.errors import DamagedError
from appliance.engines.clickhouse_snapshot import PART_MARK, Table
from appliance.engines.postgres_snapshot import TABLE_OF_CONTENTS
from appliance.lifecycle.backup.model import PLACES_NAME, Item, PackedFile, Part

Paths = tuple[str, ...]
"""Files of an item, relative to the part's folder, in order."""

_READ_BYTES = 1 << 20


def group_files(
    part: Part, folder: Path, *, tables: Iterable[Table] = (), dump_names: dict[str, str]
) -> Iterator[tuple[str, Paths]]:
    """The items of one part of a snapshot: name and files."""
    match part:
        case Part.CLICKHOUSE:
            yield from _group_parts(folder, {one.uuid: one for one in tables})
        case Part.NATS:
            yield from _group_streams(folder)
        case Part.POSTGRES:
            for path in _walk(folder):
                table = dump_names.get(path, path)
                whole = path == TABLE_OF_CONTENTS
                yield ("PostgreSQL schema" if whole else f"PostgreSQL table {table}"), (path,)
        case Part.SECRETS:
            yield "secrets", tuple(_walk(folder))
        case Part.CONFIG:
            paths = _walk(folder)
            yield "settings", tuple(path for path in paths if path != PLACES_NAME)
            if PLACES_NAME in paths:  # large, and stays the same when settings change
                yield "database of places", (PLACES_NAME,)


def _group_parts(folder: Path, tables: dict[str, Table]) -> Iterator[tuple[str, Paths]]:
    marks = sorted(path.parent for path in folder.glob(f"store/*/*/*/{PART_MARK}"))
    inside = {str(path.relative_to(folder)) for path in marks}
    for part in marks:
        table = tables.get(part.parent.name)
        label = f"{table.database}.{table.name}" if table is not None else part.parent.name
        files = tuple(f"{part.relative_to(folder)}/{path}" for path in _walk(part))
        yield f"ClickHouse table {label} part {part.name}", files
    rest = tuple(path for path in _walk(folder) if "/".join(path.split("/")[:4]) not in inside)
    yield "ClickHouse schema", rest


def _group_streams(folder: Path) -> Iterator[tuple[str, Paths]]:
    for stream in sorted(folder.glob("jetstream/*/streams/*")):
        start = str(stream.relative_to(folder))
        rest: list[str] = []
        for path in _walk(stream):
            if path.endswith(".blk"):
                block = path.rpartition("/")[2].removesuffix(".blk")
                yield f"queue stream {stream.name} block {block}", (f"{start}/{path}",)
            else:
                rest.append(f"{start}/{path}")
        yield f"queue stream {stream.name} settings", tuple(rest)


def _walk(folder: Path) -> list[str]:
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        found += [str(Path(parent, name).relative_to(folder)) for name in (*files, *links)]
    return sorted(found)


def describe_files(folder: Path, paths: Paths) -> tuple[PackedFile, ...]:
    """Length of each file, or target of each link; raises OSError."""
    described: list[PackedFile] = []
    for path in paths:
        full = folder / path
        if full.is_symlink():
            described.append(PackedFile(path=path, link=str(full.readlink())))
        else:
            described.append(PackedFile(path=path, size=full.stat().st_size))
    return tuple(described)


def fingerprint(folder: Path, files: tuple[PackedFile, ...]) -> str:
    """What tells a part of a table from every other: its place and its own check sums."""
    mark = next((one for one in files if one.path.endswith(f"/{PART_MARK}")), None)
    if mark is None:
        return ""
    digest = hashlib.sha256(repr(files).encode())
    digest.update((folder / mark.path).read_bytes())
    return digest.hexdigest()


def digest_files(folder: Path, files: tuple[PackedFile, ...], tell: Callable[[int], None]) -> str:
    """SHA-256 over the contents one after the other; raises OSError."""
    digest = hashlib.sha256()
    for packed in files:
        if packed.link:
            continue
        with (folder / packed.path).open("rb") as file:
            for chunk in iter(lambda open_file=file: open_file.read(_READ_BYTES), b""):
                digest.update(chunk)
                tell(len(chunk))
    return digest.hexdigest()


def unpack(item: Item, chunks: Iterator[bytes], folder: Path) -> None:
    """Write the files of an item below `folder`; nothing can be written outside of it.

    Raises DamagedError for content that does not fit its description, OSError.
    """
    rest = b""
    for packed in item.files:
        path = _inside(folder, packed.path, item)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if packed.link:
            path.symlink_to(packed.link)
            continue
        missing = packed.size
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            while missing:
                chunk = rest or next(chunks, b"")
                if not chunk:
                    raise DamagedError("BACKUP_DAMAGED", f"{item.name} ends too early")
                file.write(chunk[:missing])
                rest = chunk[missing:]
                missing -= min(missing, len(chunk))
    if rest or any(chunks):
        raise DamagedError("BACKUP_DAMAGED", f"{item.name} is longer than it should be")


def _inside(folder: Path, path: str, item: Item) -> Path:
    full = folder / path
    # resolved, because a link of the same item could lead out of the folder
    if ".." in path.split("/") or not full.parent.resolve().is_relative_to(folder.resolve()):
        raise DamagedError("BACKUP_DAMAGED", f"{item.name} names a path outside: {path}")
    return full
