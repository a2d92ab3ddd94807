"""What a backup says about itself.

Invariant: a backup is what its manifest lists, and a manifest that can be read is whole: the first
line is a summary for everybody, the second the check sum of all the rest, then follows the body,
compressed and, where the target is sealed with a passphrase, encrypted.
"""

import hashlib
from enum import StrEnum
from typing import Final

import msgspec

from appliance.base.errors import DamagedError
from appliance.engines.nats_snapshot import StreamFacts

FORMAT: Final = 1
PLACES_NAME: Final = "data_dir/geo/places.mmdb"
"""The imported database of places among the files of `Part.CONFIG`."""


class Part(StrEnum):
    """What an item belongs to; the value is its folder in a rebuilt data directory."""

    POSTGRES = "postgres"
    CLICKHOUSE = "clickhouse"
    NATS = "nats"
    SECRETS = "secrets"
    CONFIG = "config"


class PackedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file inside an item: its path in the part's folder, its length; or where it links to."""

    path: str
    size: int = 0
    link: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Files that belong together, kept as one object; `name` is what people are told.

    `digest` is the SHA-256 of the files one after the other, `object` the name in the pool.
    `fingerprint` tells without reading whether the same files were kept before.
    """

    part: Part
    name: str
    object: str = ""
    digest: str
    size: int
    files: tuple[PackedFile, ...]
    fingerprint: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A question that can be asked again after a restore, and its answer at the time."""

    part: Part
    subject: str
    statement: str
    answer: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `backup list` shows, readable without the passphrase.

    `point` is the instant the data is from (ISO 8601, UTC) as the machine's clock told it;
    `sequence` counts the backups of a target, so it tells their order when that clock was wrong.
    `bytes_total` is what a restore writes, `bytes_added` what this backup added to its target.
    """

    format: int = FORMAT
    id: str
    point: str
    reason: str
    release: str
    release_number: int
    encrypted: bool
    items: int
    bytes_total: int
    bytes_added: int
    seconds: float
    hold_seconds: float = 0.0
    sequence: int = 0

    @property
    def order(self) -> tuple[int, str]:
        """Sorts the backups of one target by when they were made, whatever the clock said."""
        return self.sequence, self.id


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one backup.

    `ledger` is the record of the events worker at that point: what is stored of the queue. `schema`
    has the newest migration of each store, `missing` the stores that other machines run and that
    are backed up there.
    """

    summary: Summary
    items: tuple[Item, ...]
    answers: tuple[Answer, ...]
    streams: tuple[StreamFacts, ...]
    schema: dict[str, int]
    ledger: str
    missing: tuple[Part, ...] = ()


def render_manifest(manifest: Manifest, body: bytes) -> bytes:
    """The file: summary, check sum, body (as the target keeps it)."""
    head = msgspec.json.encode(manifest.summary)
    return head + b"\n" + _checksum(head, body) + b"\n" + body


def parse_summary(content: bytes, *, name: str) -> Summary:
    """The first line of a manifest; raises DamagedError when it is not whole."""
    return split_manifest(content, name=name)[0]


def split_manifest(content: bytes, *, name: str) -> tuple[Summary, bytes]:
    """Summary and body of a manifest.

    Raises DamagedError naming the backup when a bit of it has changed.
    """
    head, _, rest = content.partition(b"\n")
    checksum, _, body = rest.partition(b"\n")
    try:
        summary = msgspec.json.decode(head, type=Summary)
    except msgspec.DecodeError as error:
        raise _damaged(name) from error
    if checksum != _checksum(head, body):
        raise _damaged(name)
    return summary, body


def _checksum(head: bytes, body: bytes) -> bytes:
    return hashlib.sha256(head + b"\n" + body).hexdigest().encode()


def _damaged(name: str) -> DamagedError:
    return DamagedError(
        "BACKUP_DAMAGED",
        f"the manifest of backup {name} is damaged",
        hint="use another backup, or another target that has this one",
    )
