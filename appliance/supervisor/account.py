"""Whom engines run as when the supervisor is root, and how that account reaches its files.

Invariant: nothing outside the data directory is made readable: at most the right to *pass through*
a closed folder on the way is granted, to this one account, as an access control entry. See
`docs/decisions/0005-engines-without-root.md` for the alternatives.
"""

import errno
import os
import pwd
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import MisconfiguredError
from appliance.supervisor.spec import Account

SYSTEM_USER: Final = "pug"
NOBODY: Final = "nobody"
# Inside the range kept for users without an entry in the account database. The first free one is
# the same for every installation, so folders on the way are opened once, not each time.
_UID_FIRST: Final = 64812
_UID_LAST: Final = 65519

_ACL_NAME: Final = "system.posix_acl_access"
_ACL_VERSION: Final = 2
_ACL_ENTRY: Final = struct.Struct("<HHI")
_ACL_NO_ID: Final = 0xFFFFFFFF
_USER_OBJECT, _USER, _GROUP_OBJECT, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_SEARCH: Final = 1

AclEntry = tuple[int, int, int]


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that was opened for passing through, and how it was before."""

    folder: Path
    mode: int
    acl: bytes | None


def choose_account(owned: tuple[Path, ...]) -> Account | None:
    """The account of the engines, or None when this process is not root and stays what it is.

    The owner of an engine's existing folder comes first, so that a moved installation keeps
    working; then the system user `pug`; then a number that no entry has.
    """
    if os.geteuid() != 0:
        return None
    for folder in owned:
        with suppress(OSError):
            found = folder.stat()
            if found.st_uid != 0:
                return Account(uid=found.st_uid, gid=found.st_gid)
    with suppress(KeyError):
        entry = pwd.getpwnam(SYSTEM_USER)
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    number = next(filter(_is_free, range(_UID_FIRST, _UID_LAST)), _UID_FIRST)
    return Account(uid=number, gid=number)


def listed_account() -> Account:
    """An unprivileged account that has an entry in the account database.

    Raises MisconfiguredError when the machine has none at all.
    """
    with suppress(KeyError):
        entry = pwd.getpwnam(NOBODY)
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    for entry in pwd.getpwall():
        if entry.pw_uid != 0:
            return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise MisconfiguredError(
        "NO_UNPRIVILEGED_USER",
        "this machine has no account but root",
        hint="add one: useradd --system pug",
    )


def _is_free(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return True
    return False


def own_folder(folder: Path, account: Account | None, *, mode: int) -> None:
    """Give one existing folder or file its owner and mode."""
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(mode)


def own_tree(folder: Path, account: Account) -> None:
    """Give a folder and everything in it to an account, without following links."""
    os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(parent, name), account.uid, account.gid, follow_symlinks=False)


def grant_passage(target: Path, account: Account) -> tuple[Passage, ...]:
    """Let an account pass through every folder above `target`; the folders that needed it.

    Raises MisconfiguredError when a file system has no access control entries.
    """
    granted: list[Passage] = []
    for folder in reversed(target.resolve().parents):
        if _may_pass(folder, account):
            continue
        before = Passage(
            folder=folder, mode=stat.S_IMODE(folder.stat().st_mode), acl=_raw_acl(folder)
        )
        try:
            _grant_search(folder, account)
        except OSError as error:
            raise MisconfiguredError(
                "PATH_UNREACHABLE",
                f"{folder} is closed to the account of the engines (uid {account.uid})",
                hint=f"run: chmod o+x {folder}, or choose another data_dir",
            ) from error
        granted.append(before)
    return tuple(granted)


def revoke_passage(granted: tuple[Passage, ...]) -> None:
    """Put every folder back to how it was before `grant_passage`."""
    for passage in reversed(granted):
        if passage.acl is not None:
            os.setxattr(passage.folder, _ACL_NAME, passage.acl)
        else:
            with suppress(OSError):
                os.removexattr(passage.folder, _ACL_NAME)
            passage.folder.chmod(passage.mode)


def may_read(target: Path, account: Account) -> bool:
    """Whether an account reaches and reads a file (and runs it, if it is a program)."""
    try:
        path = target.resolve(strict=True)
        found = path.stat()
    except OSError:
        return False
    wanted = 4 | (1 if found.st_mode & stat.S_IXUSR else 0)
    return _allowed(found, _read_acl(path), account) & wanted == wanted and all(
        _may_pass(folder, account) for folder in path.parents
    )


def _may_pass(folder: Path, account: Account) -> bool:
    return bool(_allowed(folder.stat(), _read_acl(folder), account) & _SEARCH)


def _allowed(found: os.stat_result, entries: tuple[AclEntry, ...], account: Account) -> int:
    """The rwx bits an account has; its own entry counts before group and others."""
    if found.st_uid == account.uid:
        return found.st_mode >> 6 & 7
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), 7)
    for tag, bits, number in entries:
        if tag == _USER and number == account.uid:
            return bits & mask
    if found.st_gid == account.gid:
        return found.st_mode >> 3 & 7
    return found.st_mode & 7


def _raw_acl(path: Path) -> bytes | None:
    try:
        return os.getxattr(path, _ACL_NAME)
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES}:
            return None
        raise


def _read_acl(path: Path) -> tuple[AclEntry, ...]:
    raw = _raw_acl(path)
    if raw is None:
        return ()
    return tuple((tag, bits, number) for tag, bits, number in _ACL_ENTRY.iter_unpack(raw[4:]))


def _grant_search(folder: Path, account: Account) -> None:
    mode = folder.stat().st_mode
    entries = list(_read_acl(folder)) or [
        (_USER_OBJECT, mode >> 6 & 7, _ACL_NO_ID),
        (_GROUP_OBJECT, mode >> 3 & 7, _ACL_NO_ID),
        (_OTHER, mode & 7, _ACL_NO_ID),
    ]
    group = next(bits for tag, bits, _ in entries if tag == _GROUP_OBJECT)
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), group)
    kept = [
        entry
        for entry in entries
        if entry[0] != _MASK and not (entry[0] == _USER and entry[2] == account.uid)
    ]
    kept += [(_USER, _SEARCH, account.uid), (_MASK, mask | _SEARCH, _ACL_NO_ID)]
    # A wider mask must not widen what others have, so their entries are cut to the old one.
    cut = [(tag, bits & mask if _is_masked(tag, n, account) else bits, n) for tag, bits, n in kept]
    raw = struct.pack("<I", _ACL_VERSION) + b"".join(
        _ACL_ENTRY.pack(*entry) for entry in sorted(cut, key=lambda entry: (entry[0], entry[2]))
    )
    os.setxattr(folder, _ACL_NAME, raw)


def _is_masked(tag: int, number: int, account: Account) -> bool:
    return tag in {_GROUP, _GROUP_OBJECT} or (tag == _USER and number != account.uid)
