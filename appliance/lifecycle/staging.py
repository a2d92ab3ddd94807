"""From a file on a stick to a complete, verified release folder in staging.

Invariant: until a release is complete and as signed, only the staging folder has changed, and the
next attempt empties it first.
"""

import asyncio
import shutil
import threading
from pathlib import Path

import msgspec

from appliance.base.files import ensure_folder, unwritable
from appliance.lifecycle.archive import ArchiveReader, folders_inside, open_archive
from appliance.lifecycle.bundle import Machine, judge, read_files, read_head
from appliance.lifecycle.delta import apply_delta, is_delta
from appliance.lifecycle.manifest import Manifest
from appliance.lifecycle.progress import Progress
from appliance.lifecycle.release_copy import flush_file_system
from appliance.lifecycle.release_tree import NOTHING_KNOWN, known_files
from appliance.lifecycle.release_writer import ReleaseWriter
from appliance.lifecycle.signature import PublicKey, TrustedKeys


class StagedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A complete, verified release in staging."""

    folder: Path
    manifest: Manifest
    key: PublicKey
    linked_bytes: int = 0


async def stage(
    path: Path,
    *,
    staging: Path,
    trusted: TrustedKeys,
    machine: Machine,
    installed: Path | None,
    progress: Progress,
) -> StagedRelease:
    """Verify a bundle while copying it into `staging`; a complete release folder there.

    `installed` is the release in use: a delta is applied to it, and files that did not change
    become hard links to its own. What an earlier attempt left in staging is removed first.

    Raises BundleRefusedError (exit status 5) with nothing changed outside staging.
    """
    stop = threading.Event()
    try:
        return await asyncio.to_thread(
            _stage, path, staging, trusted, machine, installed, progress, stop
        )
    finally:
        stop.set()


def _stage(
    path: Path,
    staging: Path,
    trusted: TrustedKeys,
    machine: Machine,
    installed: Path | None,
    progress: Progress,
    stop: threading.Event,
) -> StagedRelease:
    clear_staging(staging)
    with open_archive(path) as file:
        reader = ArchiveReader(file)
        head = read_head(reader, trusted)
        judge(head.manifest, machine)
        target = staging / head.manifest.version
        writer = ReleaseWriter(target, known_files(installed) if installed else NOTHING_KNOWN)
        try:
            writer.make_folders(folders_inside(entry.path for entry in head.manifest.files))
            if is_delta(head.folder):
                apply_delta(reader, head, writer, base=installed, progress=progress, stop=stop)
            else:
                read_files(reader, head, writer, progress=progress, stop=stop)
            writer.seal(head)
            flush_file_system(target)
        except OSError as error:
            raise unwritable(target, error) from error
        finally:
            writer.close()
    return StagedRelease(
        folder=target, manifest=head.manifest, key=head.key, linked_bytes=writer.linked_bytes
    )


def clear_staging(staging: Path) -> None:
    """Have an empty staging folder that only its owner can enter."""
    try:
        shutil.rmtree(staging, ignore_errors=True)
        ensure_folder(staging)
    except OSError as error:
        raise unwritable(staging, error) from error
