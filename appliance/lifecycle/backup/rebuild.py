"""A data directory made from a backup, and the questions that tell whether it is the same.

Invariant: a rebuilt folder is one that engines can be started on; the only engine that runs while
it is made is the relational one, because its content is a dump. Nothing outside the folder changes.
"""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from appliance.base.errors import DamagedError, MisconfiguredError
from appliance.base.files import PRIVATE_FOLDER, ensure_folder, unwritable, write_atomic
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.config.secrets import ensure_secrets
from appliance.engines.clickhouse_snapshot import STORE as CLICKHOUSE_STORE
from appliance.engines.clickhouse_snapshot import ask_clickhouse
from appliance.engines.nats_snapshot import STORE as NATS_STORE
from appliance.engines.nats_snapshot import stream_state
from appliance.engines.postgres_snapshot import load_postgres, read_facts
from appliance.engines.programs import postgres_home
from appliance.lifecycle.backup.capture import nats_door
from appliance.lifecycle.backup.engines import engines_running, scratch_settings
from appliance.lifecycle.backup.flushing import flush_file_system
from appliance.lifecycle.backup.model import Item, Manifest, Part
from appliance.lifecycle.backup.packing import unpack
from appliance.lifecycle.backup.pool import Pool
from appliance.lifecycle.progress import Progress

DUMP: Final = "dump"
COMPLETE: Final = "complete"
"""The file that says that a folder was rebuilt to its end."""
STORES: Final = (Part.POSTGRES, Part.CLICKHOUSE, Part.NATS)
_ROOM_BYTES: Final = 512 << 20


class Source(Protocol):
    """Where the content of a backup comes from."""

    manifest: Manifest

    async def place(self, folders: Mapping[Part, Path], progress: Progress) -> None:
        """Put each part into its folder; raises DamagedError naming what cannot be read."""
        ...


class PoolSource:
    """A backup in a target."""

    def __init__(self, pool: Pool, manifest: Manifest) -> None:
        self._pool = pool
        self.manifest = manifest
        self.damaged: list[Item] = []

    async def place(self, folders: Mapping[Part, Path], progress: Progress) -> None:
        """Unpack every item; all damaged ones are found before it fails."""
        wanted = [item for item in self.manifest.items if item.part in folders]
        total = sum(item.size for item in wanted)
        done = 0
        first: DamagedError | None = None
        for item in wanted:
            try:
                await asyncio.to_thread(unpack, item, self._pool.read(item), folders[item.part])
            except DamagedError as error:
                self.damaged.append(item)
                first = first or error
            except OSError as error:
                raise unwritable(folders[item.part], error) from error
            done += item.size
            progress.amount(done, total)
        if first is not None:
            raise first


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A question whose answer is not what it was."""

    subject: str
    expected: str
    found: str


async def rebuild(
    source: Source,
    folder: Path,
    settings: Settings,
    *,
    inherited: Mapping[str, str],
    progress: Progress,
    parts: tuple[Part, ...] = tuple(Part),
) -> Settings:
    """Make a data directory in `folder`; the settings to start engines on it.

    A folder that is complete already is left as it is; one that is not is made anew. Raises
    DamagedError naming what is damaged, MisconfiguredError when there is no room.
    """
    scratch = scratch_settings(settings, folder)
    if (folder / COMPLETE).exists():
        return scratch
    shutil.rmtree(folder, ignore_errors=True)
    ensure_folder(folder)
    check_room(folder, source.manifest.summary.bytes_total)
    there = [part for part in parts if part not in source.manifest.missing]
    places = {
        Part.POSTGRES: folder / DUMP,
        Part.CLICKHOUSE: folder / "clickhouse" / CLICKHOUSE_STORE,
        Part.NATS: folder / "nats" / NATS_STORE,
        Part.SECRETS: folder / "secrets",
        Part.CONFIG: folder / "config",
    }
    await source.place({part: ensure_folder(places[part]) for part in there}, progress)
    if Part.SECRETS not in there:
        # the rebuilt stores shall answer to the passwords that stay
        shutil.copytree(settings.folders.secrets, folder / "secrets", dirs_exist_ok=True)
        (folder / "secrets").chmod(PRIVATE_FOLDER)
    ensure_secrets(folder / "secrets")
    if Part.POSTGRES in there:
        await _load_dump(scratch, inherited=inherited)
    await asyncio.to_thread(flush_file_system, folder)
    write_atomic(folder / COMPLETE, b"")
    return scratch


def check_room(folder: Path, needed: int) -> None:
    """Refuse before anything is unpacked when the disk is too full; raises MisconfiguredError."""
    free = shutil.disk_usage(folder).free
    if free < needed + _ROOM_BYTES:
        raise MisconfiguredError(
            "DISK_FULL",
            f"{folder} has {free >> 20} MiB free, {(needed + _ROOM_BYTES) >> 20} MiB are needed",
            hint="free space, or name another folder",
        )


async def _load_dump(scratch: Settings, *, inherited: Mapping[str, str]) -> None:
    async with engines_running(scratch, inherited=inherited, names=("postgres",)):
        endpoint = resolve_endpoints(scratch).postgres
        dump = scratch.data_dir / DUMP
        await load_postgres(endpoint, dump, home=postgres_home(), work=scratch.data_dir)
    shutil.rmtree(scratch.data_dir / DUMP, ignore_errors=True)


async def compare(scratch: Settings, manifest: Manifest) -> tuple[Difference, ...]:
    """Ask running engines what was asked when the backup was made; what differs.

    Raises UnavailableError when an engine does not answer.
    """
    endpoints = resolve_endpoints(scratch)
    found: dict[tuple[Part, str], str] = {}
    if Part.POSTGRES not in manifest.missing:
        facts = await read_facts(endpoints.postgres)
        found |= {(Part.POSTGRES, one.name): one.facts for one in facts.tables}
    for answer in manifest.answers:
        if answer.part is Part.CLICKHOUSE:
            found[answer.part, answer.subject] = await ask_clickhouse(
                endpoints.clickhouse, answer.statement
            )
    differences = [
        Difference(subject=f"{one.part.value} {one.subject}", expected=one.answer, found=now)
        for one in manifest.answers
        if (now := found.get((one.part, one.subject), "missing")) != one.answer
    ]
    for stream in manifest.streams:
        made, _, _, last = await stream_state(nats_door(endpoints.nats), stream.name)
        expected = f"made {stream.created}, last message {stream.last_sequence}"
        if (made, last) != (stream.created, stream.last_sequence):
            differences.append(
                Difference(
                    subject=f"queue stream {stream.name}",
                    expected=expected,
                    found=f"made {made}, last message {last}",
                )
            )
    return tuple(differences)
