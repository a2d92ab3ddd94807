"""Secrets: made at first start, kept in files only their owner can read, never printed.

Invariant: there is no default secret and no empty one. A secret file that others can read is
refused, not repaired, because whoever could read it may have done so.
"""

import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Final

from appliance.base.errors import MisconfiguredError
from appliance.base.files import PRIVATE_FILE, ensure_folder, unwritable, write_atomic

_SECRET_BYTES: Final = 32
_CREDENTIAL_MODE: Final = 0o440


class Secret:
    """A text that does not show itself in logs, errors, `repr` or JSON."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text:
            raise ValueError("a non-empty secret")
        self._text = text

    def reveal(self) -> str:
        """The text itself; call it only where it is handed to a driver."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(
            self._text.encode(), other.reveal().encode()
        )

    def __hash__(self) -> int:
        return hash(self._text)


class SecretName(StrEnum):
    """The secrets an installation makes for itself; the value is the file's name."""

    POSTGRES = "postgres-password"
    NATS = "nats-password"
    CLICKHOUSE = "clickhouse-password"
    SESSIONS = "session-signing-key"


def secret_path(folder: Path, name: SecretName) -> Path:
    """Where the secret `name` lies in the secrets folder."""
    return folder / name.value


def ensure_secrets(folder: Path) -> None:
    """Make every missing secret (64 hexadecimal characters, mode 0600); keep those that exist."""
    ensure_folder(folder)
    for name in SecretName:
        if not secret_path(folder, name).exists():
            write_atomic(secret_path(folder, name), secrets.token_hex(_SECRET_BYTES).encode())


def load_secret(folder: Path, name: SecretName) -> Secret:
    """Read one secret.

    Raises MisconfiguredError when it is missing, empty or readable by others.
    """
    path = secret_path(folder, name)
    return load_secret_file(path)


def load_secret_file(path: Path) -> Secret:
    """Read a secret from any file; a trailing line break does not count.

    Raises MisconfiguredError when it is missing, empty or readable by others.
    """
    try:
        found = path.stat()
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise MisconfiguredError(
            "SECRET_MISSING",
            f"the secret file {path} is missing",
            hint="restore it from a backup; `pug-appliance run` makes secrets only once",
        ) from error
    except OSError as error:
        raise unwritable(path, error) from error
    mode = found.st_mode & 0o777
    if mode & 0o077 and not _is_credential(found):
        raise MisconfiguredError(
            "SECRET_EXPOSED",
            f"the secret file {path} has mode {mode:04o} and can be read by others",
            hint=f"replace the secret, then run: chmod {PRIVATE_FILE:o} {path}",
        )
    if not text:
        raise MisconfiguredError(
            "SECRET_EMPTY",
            f"the secret file {path} is empty",
            hint="remove it to have a fresh one made, or restore it from a backup",
        )
    return Secret(text)


def _is_credential(found: os.stat_result) -> bool:
    """Whether systemd made the file: root's, and opened to one account by an access control list.

    The list shows up as a right of the group, which is root's own.
    """
    return (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 0, _CREDENTIAL_MODE)
