"""Making a PostgreSQL cluster, and looking at one before it is started.

Invariant: the final name appears only after `initdb` succeeded and its files are on disk; whatever
an interrupted attempt left is thrown away. A pid file is removed only when nobody works in
the folder any more.
"""

import ctypes
import os
import pwd
import shutil
from pathlib import Path
from typing import Final

from appliance.base.errors import MisconfiguredError
from appliance.base.files import PRIVATE_FOLDER, flush_folder, unwritable
from appliance.config.secrets import Secret
from appliance.supervisor.account import (
    Passage,
    grant_passage,
    listed_account,
    own_folder,
    own_tree,
    revoke_passage,
)
from appliance.supervisor.program import run_program
from appliance.supervisor.spec import Account, ProcessSpec

INIT_SECONDS_MAX: Final = 180.0
_SUPERUSER: Final = "postgres"


def check_cluster(folder: Path, cluster: Path) -> None:
    """Refuse a cluster of another major version.

    Raises MisconfiguredError naming both versions.
    """
    marks = {path.parent.name: path.read_text().strip() for path in folder.glob("*/PG_VERSION")}
    wanted = cluster.name
    found = marks.get(wanted)
    if found == wanted:
        return
    if found is None and not marks:
        if cluster.exists():
            raise MisconfiguredError(
                "CLUSTER_DAMAGED",
                f"{cluster} is no PostgreSQL data directory (PG_VERSION is missing)",
                hint="restore it from a backup, or move it away to begin empty",
            )
        return
    other = found or ", ".join(sorted(marks))
    raise MisconfiguredError(
        "CLUSTER_VERSION",
        f"{folder} holds data of PostgreSQL {other}; this release brings PostgreSQL {wanted}",
        hint="run the release that wrote it, or restore a backup into an empty data_dir",
    )


async def make_cluster(
    cluster: Path, *, home: Path, account: Account | None, password: Secret
) -> None:
    """Make a cluster under a working name and give it its final name when it is complete.

    `initdb` insists on a user with an entry in the account database, which the engines' account
    need not have: then `nobody` makes the files, may pass to them only meanwhile, and they change
    hands afterwards.
    """
    folder = cluster.parent
    # Only a folder beside the engine's own can be opened to the other account for a while.
    making = (
        folder / f".{cluster.name}.making"
        if account is None
        else folder.parent / f"{folder.name}.making"
    )
    shutil.rmtree(making, ignore_errors=True)
    if account is None:
        _check_listed()
    maker = listed_account() if account is not None else None
    granted: tuple[Passage, ...] = ()
    try:
        making.mkdir(mode=PRIVATE_FOLDER)
        own_folder(making, maker, mode=PRIVATE_FOLDER)
        word = making / "password"
        word.write_text(password.reveal() + "\n")
        own_folder(word, maker, mode=0o600)
        if maker is not None:
            granted = (
                *grant_passage(making / "cluster", maker),
                *grant_passage(home / "bin" / "postgres", maker),
            )
        await run_program(_initdb(home, making, word, maker), timeout_seconds=INIT_SECONDS_MAX)
        if account is not None:
            own_tree(making / "cluster", account)
        _flush_file_system(making)
        (making / "cluster").rename(cluster)
        flush_folder(cluster.parent)
    except OSError as error:
        raise unwritable(making, error) from error
    finally:
        revoke_passage(granted)
        shutil.rmtree(making, ignore_errors=True)


def _check_listed() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise MisconfiguredError(
            "USER_UNLISTED",
            f"the user id {os.geteuid()} has no entry in /etc/passwd, which PostgreSQL needs once",
            hint="start as a user with an entry, or as root",
        ) from error


def _initdb(home: Path, making: Path, word: Path, maker: Account | None) -> ProcessSpec:
    return ProcessSpec(
        name="initdb",
        argv=(
            str(home / "bin" / "initdb"),
            f"--pgdata={making / 'cluster'}",
            f"--username={_SUPERUSER}",
            f"--pwfile={word}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
            "--no-instructions",
            # The files are flushed once, after they have changed hands.
            "--no-sync",
        ),
        directory=making.parent,
        account=maker,
    )


def clear_stale_pids(cluster: Path, sockets: Path) -> None:
    """Remove the pid file, the socket and its lock of a PostgreSQL that is gone.

    Only the supervisor calls this, after it took the lock and ended whatever worked in the folder.
    The pid in such a file often belongs to somebody else by now, or to a zombie that nobody reaps,
    and PostgreSQL would refuse to start for ever.
    """
    for left in (cluster / "postmaster.pid", *sockets.glob(".s.PGSQL.*")):
        left.unlink(missing_ok=True)


def _flush_file_system(folder: Path) -> None:
    """Put everything written so far on disk, in one call instead of a thousand."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(descriptor)
