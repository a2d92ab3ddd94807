"""Migrations as values: ordered files, their checksums, and what is still to do.

Invariant: forward only. A file that was applied never changes. What a newer release added is left
alone; only a contraction (`NNNN_contract_MMMM_...`) takes something away, and then from releases
older than MMMM alone (decision 0014). `migrate.py` carries the decision out for the three stores.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Final

import msgspec

from appliance.base.errors import DamagedError, UnmetError

FILE_NAME: Final = re.compile(r"(?P<version>[0-9]{4})_(?P<title>[a-z0-9]+(?:_[a-z0-9]+)+)\.\w+")
CONTRACTION: Final = re.compile(r"[0-9]{4}_contract_(?P<since>[0-9]{4})_\w+")
"""A migration that takes away what releases with migration `since` or newer no longer use."""

Progress = Callable[[str], None]
"""Hears the name of each migration just before it is applied."""


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One ordered file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, lower-case hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a store's ledger."""

    version: int
    name: str
    checksum: str


class MigrationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did: the names applied now, and the version reached."""

    store: str
    applied: tuple[str, ...]
    version: int


def load_migrations(package: str, folder: str) -> tuple[Migration, ...]:
    """The files of `folder` in `package`, in order; a gap or a bad name is our bug."""
    found: list[Migration] = []
    for entry in files(package).joinpath(folder).iterdir():
        match = FILE_NAME.fullmatch(entry.name)
        if match is None:
            assert entry.name.startswith("_"), f"{entry.name} is not NNNN_verb_noun"
            continue
        found.append(
            Migration(
                version=int(match["version"]),
                name=entry.name.rsplit(".", 1)[0],
                text=entry.read_text(encoding="utf-8"),
            )
        )
    found.sort(key=lambda migration: migration.version)
    assert [one.version for one in found] == list(range(1, len(found) + 1)), folder
    return tuple(found)


def plan_migrations(
    store: str, known: Sequence[Migration], applied: Sequence[Applied]
) -> tuple[Migration, ...]:
    """The migrations still to apply, in order.

    A ledger ahead of this release is fine as long as nothing was taken away that it uses: that is
    how the release before keeps working during an upgrade and after a rollback.

    Raises UnmetError when something was, and DamagedError when an applied file is not the file
    that this release has.
    """
    by_version = {one.version: one for one in known}
    newest = max(by_version, default=0)
    for line in sorted(applied, key=lambda one: one.version):
        mine = by_version.get(line.version)
        if mine is None:
            if needed_since(line.name) <= newest:
                continue
            raise UnmetError(
                "SCHEMA_NEWER",
                f"{store} has migration {line.name}, which took away what this release uses",
                hint="start the newer release again, or restore a backup made before it",
            )
        if mine.checksum != line.checksum:
            raise DamagedError(
                "SCHEMA_CHANGED",
                f"migration {line.name} of {store} was applied with another content",
                hint="applied migrations never change; install an unmodified release",
            )
    done = {line.version for line in applied}
    return tuple(one for one in known if one.version not in done)


def needed_since(name: str) -> int:
    """The oldest schema a release must know to work after a migration; 0 when any does."""
    match = CONTRACTION.fullmatch(name)
    return int(match["since"]) if match else 0


def compatible_since(known: Sequence[Migration]) -> int:
    """The oldest schema a release must know to work on the schema after all of these."""
    return max((needed_since(one.name) for one in known), default=0)


def split_statements(text: str) -> tuple[str, ...]:
    """The statements of a file: comments dropped, split where a line ends with a semicolon."""
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    parts = re.split(r";[ \t]*\n", "\n".join(lines) + "\n")
    return tuple(part.strip() for part in parts if part.strip())
