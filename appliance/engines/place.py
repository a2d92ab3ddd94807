"""Where the engines of one installation live, and as whom.

Invariant: an engine's folder belongs to the engine's account with mode 0700, set explicitly; the
folders above it can be passed through and nothing more.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.files import PRIVATE_FILE, PRIVATE_FOLDER, ensure_folder, unwritable
from appliance.config.endpoints import Ports
from appliance.config.folders import Folders
from appliance.config.model import Settings
from appliance.supervisor.account import choose_account, grant_passage, own_folder, own_tree
from appliance.supervisor.spec import Account

_PASSAGE_FOLDER: Final = 0o711
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One installation: settings, ports, and the account of its engines (None: our own)."""

    settings: Settings
    ports: Ports
    account: Account | None

    @property
    def folders(self) -> Folders:
        """The paths of the installation."""
        return self.settings.folders


def choose_place(settings: Settings, ports: Ports) -> Place:
    """The place of an installation; makes the data directory reachable for the engines.

    Under systemd the engines' units have their own accounts and folders, and nothing is changed.
    Raises MisconfiguredError when a folder cannot be made or reached.
    """
    folders = settings.folders
    if settings.installed:
        return Place(settings=settings, ports=ports, account=None)
    ensure_folder(folders.root)
    owned = (folders.postgres, folders.nats, folders.clickhouse)
    account = choose_account(owned)
    if account is not None:
        try:
            folders.root.chmod(_PASSAGE_FOLDER)
            grant_passage(folders.root / "inside", account)
        except OSError as error:
            raise unwritable(folders.root, error) from error
    return Place(settings=settings, ports=ports, account=account)


def engine_folder(folder: Path, account: Account | None) -> Path:
    """An engine's own folder, with its owner and mode, and everything in it.

    A folder that belongs to somebody else (restored by root, say) is handed over as a whole.
    """
    ensure_folder(folder)
    try:
        if account is not None and folder.stat().st_uid != account.uid:
            own_tree(folder, account)
        own_folder(folder, account, mode=PRIVATE_FOLDER)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def write_private(path: Path, text: str, account: Account | None) -> None:
    """Replace a file that only the engine's account may read.

    On a full disk an older version is good enough: an engine must be able to start again then.
    Raises MisconfiguredError when there is none, or the folder cannot be written at all.
    """
    beside = path.with_name(f".{path.name}.writing")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(beside, flags, PRIVATE_FILE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        own_folder(beside, account, mode=PRIVATE_FILE)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if error.errno not in _NO_SPACE or not path.exists():
            raise unwritable(path, error) from error
