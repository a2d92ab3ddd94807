"""What goes into a support bundle, as it lies on this machine: nothing is redacted here yet.

Invariant: every source has a bound in bytes and in time, and one that cannot be read becomes a line
in the bundle instead of an end. Next: `support.py` redacts and packs.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Final, LiteralString, TypeVar

import msgspec

from appliance.base.errors import ApplianceError
from appliance.config.reference import shown_settings, value_at
from appliance.config.schema import leaves
from appliance.config.secrets import Secret
from appliance.engines.postgres_driver import (
    NoSuchDatabaseError,
    RefusedError,
    postgres_connection,
)
from appliance.lifecycle.doctor.catalogue import examine
from appliance.lifecycle.doctor.facts import Facts, FilesFacts
from appliance.lifecycle.doctor.gathering.operation import read_metrics
from appliance.lifecycle.doctor.gathering.probing import in_thread
from appliance.lifecycle.doctor.gathering.scene import Scene
from appliance.lifecycle.doctor.gathering.stores import ask_events
from appliance.supervisor.lines import decode_entry
from appliance.supervisor.output import log_path, logged_components, turned
from appliance.version import RELEASE, RELEASE_NUMBER

LOG_BYTES_MAX: Final = 4 << 20
TEXT_BYTES_MAX: Final = 4 << 20
_TURNED_MAX: Final = 100
_OPERATIONS_MAX: Final = 20
_JOURNAL_LINES_MAX: Final = 20_000
_KERNEL_LINES_MAX: Final = 300
_TOOL_SECONDS_MAX: Final = 20.0
_STORE_SECONDS_MAX: Final = 6.0
_FILES_SECONDS_MAX: Final = 20.0
Item = TypeVar("Item")

_POSTGRES_LEDGER: Final[LiteralString] = """
SELECT string_agg(version || ' ' || name || ' ' || apply_time, E'\\n' ORDER BY version)
FROM schema_migrations
"""
_CLICKHOUSE_LEDGER: Final[LiteralString] = """
SELECT DISTINCT version, name FROM schema_migrations ORDER BY version
"""


class Form(Enum):
    """How a source is read by the redaction."""

    OWN = "own"
    """A document of ours in JSON: names of fields mean nothing, values are filtered."""
    ENTRIES = "entries"
    """Lines of JSON with fields of any name."""
    TEXT = "text"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the bundle, not redacted yet. `literals`: quoted texts are values."""

    name: str
    content: bytes
    form: Form
    literals: bool = False


async def read_sources(scene: Scene, facts: Facts, days: int) -> AsyncIterator[Source]:
    """Everything, in a fixed order."""
    yield _document("version.json", {"release": RELEASE, "number": RELEASE_NUMBER})
    yield _document("doctor.json", examine(facts))
    shown: dict[str, object] = {
        name: getattr(facts, name) for name in facts.__struct_fields__ if name != "settings"
    }
    yield _document("facts.json", shown | {"files": _wrong_files(facts)})
    yield _document("status.json", facts.services)
    yield _document("settings.json", _settings(scene))
    yield _text("metrics.txt", await _tried(lambda: _metrics(scene)))
    yield _text("migrations/postgres.txt", await _tried(lambda: _postgres_ledger(scene)))
    yield _text("migrations/clickhouse.txt", await _tried(lambda: _clickhouse_ledger(scene)))
    for source in await _within(lambda: _logs(scene, days)):
        yield source
    for source in await _within(lambda: _files(scene)):
        yield source
    async for source in _journals(scene, days):
        yield source


async def known_secrets(scene: Scene) -> tuple[str, ...]:
    """Every secret of this installation that we may read, to be taken out wherever it stands."""
    return await _within(lambda: _known_secrets(scene))


async def _within(read: Callable[[], Iterator[Item]]) -> tuple[Item, ...]:
    """What could be read in time; a dead mount ends the reading and nothing else."""
    found: list[Item] = []

    def work() -> None:
        for item in read():
            found.append(item)  # noqa: PERF402 the part that came in time is wanted

    with suppress(TimeoutError):
        async with asyncio.timeout(_FILES_SECONDS_MAX):
            await in_thread(work)
    return tuple(found)


def _known_secrets(scene: Scene) -> Iterator[str]:
    settings = scene.settings
    for leaf in leaves():
        value = value_at(settings, leaf.key)
        if isinstance(value, Secret):
            yield value.reveal()
    folders = [scene.folders.secrets, scene.folders.root / "secrets"]
    files = [path for folder in folders for path in _listed(folder)]
    if settings.backup.passphrase_file is not None:
        files.append(settings.backup.passphrase_file)
    for path in files:
        text = _read(path, TEXT_BYTES_MAX).decode("utf-8", "replace").strip()
        if text and "\n" not in text:
            yield text
    connection = _read(scene.folders.connection_file, TEXT_BYTES_MAX)
    try:
        keys = msgspec.json.decode(connection, type=dict[str, str])
    except msgspec.DecodeError:
        return
    yield from (value for name, value in keys.items() if name.endswith("_key"))


def _wrong_files(facts: Facts) -> FilesFacts | None:
    """The paths that are not as they should be; a release alone has thousands that are."""
    if facts.files is None:
        return None
    wrong = (
        one
        for one in facts.files.paths
        if not one.found or one.found_mode & ~one.mode or one.owner not in {"", one.found_owner}
    )
    return FilesFacts(paths=tuple(wrong), barred=facts.files.barred)


def _document(name: str, value: object) -> Source:
    content = msgspec.json.encode(value, enc_hook=str)
    return Source(name=name, content=msgspec.json.format(content, indent=1), form=Form.OWN)


def _text(name: str, text: str, *, literals: bool = False) -> Source:
    content = text.encode()[-TEXT_BYTES_MAX:]
    return Source(name=name, content=content, form=Form.TEXT, literals=literals)


async def _tried(read: Callable[[], Awaitable[str]]) -> str:
    """What was read, or why it could not be."""
    try:
        async with asyncio.timeout(_STORE_SECONDS_MAX):
            return await read()
    except (
        *(ApplianceError, OSError, EOFError, TimeoutError),
        *(NoSuchDatabaseError, RefusedError, ValueError),
    ) as error:
        return f"could not be read: {error or type(error).__name__}\n"


def _settings(scene: Scene) -> dict[str, object]:
    return {
        "config": scene.config,
        # A list is written without its brackets: what looks like JSON is taken out.
        "settings": {
            row.key: {"value": row.value.strip("[]"), "origin": row.origin}
            for row in shown_settings(scene.settings, scene.origins)
        },
    }


async def _metrics(scene: Scene) -> str:
    return (await read_metrics(scene)).decode("utf-8", "replace")


async def _postgres_ledger(scene: Scene) -> str:
    endpoint = await scene.postgres()
    ssl = None if endpoint.external else False
    async with postgres_connection(endpoint.url.reveal(), ssl=ssl) as connection:
        return str(await connection.fetchval(_POSTGRES_LEDGER))


async def _clickhouse_ledger(scene: Scene) -> str:
    endpoint = await scene.clickhouse()
    return await ask_events(endpoint, _CLICKHOUSE_LEDGER)


def _logs(scene: Scene, days: int) -> Iterator[Source]:
    """The last lines of each component, at most so old and so many bytes."""
    folder = scene.folders.logs
    since = (scene.clock.now() - timedelta(days=days)).isoformat()
    try:
        components = logged_components(folder)
    except OSError as error:
        yield _text("logs/unreadable.txt", f"{folder}: {error.strerror}\n")
        return
    for component in components:
        yield Source(
            name=f"logs/{component}.jsonl",
            content=_recent(log_path(folder, component), since),
            form=Form.ENTRIES,
            literals=True,
        )


def _recent(path: Path, since: str) -> bytes:
    """The newest lines of a log and its turned-over files."""
    kept: list[bytes] = []
    size = 0
    for source in (path, *(turned(path, number) for number in range(1, _TURNED_MAX))):
        if not source.exists():
            break
        for line in reversed(_read(source, LOG_BYTES_MAX, tail=True).splitlines()):
            entry = decode_entry(line)
            if entry is not None and entry.timestamp < since:
                continue
            size += len(line) + 1
            if size > LOG_BYTES_MAX:
                return b"\n".join(reversed(kept)) + b"\n"
            kept.append(line)
    return b"\n".join(reversed(kept)) + b"\n"


def _files(scene: Scene) -> Iterator[Source]:
    """Files that say how things were set up; none of them is a secret's own."""
    folders = scene.folders
    for path in (
        *sorted(folders.postgres.glob("*/postgresql.conf")),
        *sorted(folders.postgres.glob("*/operator.conf")),
    ):
        yield _file(f"engines/{path.name}", path)
    layout = scene.layout
    if layout is None:
        return
    for path in sorted(layout.unit_dir.glob("pug*")):
        if path.is_file():
            yield _file(f"units/{path.name}", path)
    for path in sorted(layout.unit_dir.glob("pug*.d/*.conf")):
        yield _file(f"units/{path.parent.name}/{path.name}", path)
    for path in sorted(layout.journal.glob("*.jsonl"))[-_OPERATIONS_MAX:]:
        yield Source(
            name=f"operations/{path.name}",
            content=_read(path, TEXT_BYTES_MAX),
            form=Form.ENTRIES,
        )
    listing = "".join(f"{path.name}\n" for path in _listed_folders(layout.releases))
    yield _text("releases.txt", f"{listing}current -> {_target(layout.current)}\n")


def _file(name: str, path: Path) -> Source:
    return Source(name=name, content=_read(path, TEXT_BYTES_MAX), form=Form.TEXT)


async def _journals(scene: Scene, days: int) -> AsyncIterator[Source]:
    if not scene.systemd:
        return
    since = f"--since=-{days}d"
    wanted = {
        "kernel": ("--dmesg", "--priority=warning", f"--lines={_KERNEL_LINES_MAX}"),
    }
    if scene.layout is not None:
        units = "--unit=pug*"
        wanted["units"] = (units, since, f"--lines={_JOURNAL_LINES_MAX}")
    for name, options in wanted.items():
        try:
            told = await scene.host.run(
                *("journalctl", "--no-pager", "--output=short-iso", *options),
                timeout_seconds=_TOOL_SECONDS_MAX,
                check=False,
            )
            text = told.output or told.errors
        except ApplianceError as error:
            text = f"could not be read: {error.message}\n"
        yield _text(f"journal/{name}.txt", text, literals=True)


def _read(path: Path, limit: int, *, tail: bool = False) -> bytes:
    """A file up to a limit, from its end if wanted; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            if tail:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - limit, 0))
            return file.read(limit)
    except OSError:
        return b""


def _listed(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(sorted(path for path in folder.iterdir() if path.is_file()))
    except OSError:
        return ()


def _listed_folders(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(sorted(path for path in folder.iterdir() if path.is_dir()))
    except OSError:
        return ()


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return "nothing"
