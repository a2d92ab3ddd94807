"""Where the events worker stands: what is stored, and which block may be half stored.

Invariant: one record, on disk, replaced only by whoever read its newest revision. So of two workers
at most one makes progress: the later one to start takes the record over, and the other finds out at
its next write, before it decides anything. A block stands here before its first byte is inserted
(decision 0002).
"""

from typing import Final

import msgspec
from msgspec import Struct

from appliance.domain.ingest.blocks import Block
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.errors import stream_errors
from appliance.storage.streams.kv import LEDGER_BUCKET, Bucket

LEDGER_KEY: Final = "events-writer"
WANTED_KEY: Final = "replay-from"
"""Written by `lifecycle/backup/points.py`, which cannot import this module."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What a restore point asks for: keep the messages from `first` on until a second of Unix.

    Only as long as the stream is not larger than `bytes_max`, which fits the disk.
    """

    first: int
    until: float
    bytes_max: int


class Position(Struct, frozen=True, kw_only=True):
    """The record: `done` is the last sequence whose rows are stored or given up.

    `stream` tells one life of the stream from the next: after it was made anew its sequences start
    over. `newest` is the highest block number given out. `beat` counts signs of life.
    """

    owner: str
    stream: str
    done: int
    newest: int
    block: Block | None = None
    beat: int = 0


class BlockLedger:
    """The record of one worker, with the revision it last saw."""

    def __init__(self, streams: Streams, *, owner: str, stream: str) -> None:
        self._streams = streams
        self._bucket = Bucket(streams, LEDGER_BUCKET)
        self._owner = owner
        self._stream = stream
        self._revision = 0

    @property
    def revision(self) -> int:
        """The revision last read or written."""
        return self._revision

    async def load(self) -> Position | None:
        """The record as it stands, whoever owns it."""
        entry = await self._bucket.load(LEDGER_KEY)
        if entry is None:
            self._revision = 0
            return None
        self._revision = entry.revision
        return msgspec.json.decode(entry.value, type=Position)

    async def wanted(self, now_seconds: float) -> Wanted | None:
        """What a restore point may want again; None when none does any more."""
        entry = await self._bucket.load(WANTED_KEY)
        if entry is None:
            return None
        wanted = msgspec.json.decode(entry.value, type=Wanted)
        return wanted if now_seconds < wanted.until else None

    async def take_over(self) -> Position:
        """Make the record ours and return where the work stands.

        Raises ConflictError when another worker does the same at this moment.
        """
        life = await self._stream_life()
        standing = await self.load()
        if standing is None or standing.stream != life:
            newest = standing.newest if standing is not None else 0
            standing = Position(owner=self._owner, stream=life, done=0, newest=newest)
        mine = msgspec.structs.replace(standing, owner=self._owner, beat=standing.beat + 1)
        await self.record(mine)
        return mine

    async def record(self, position: Position) -> None:
        """Replace the record; raises ConflictError when it is not ours any more."""
        assert position.owner == self._owner, "a worker records only its own position"
        self._revision = await self._bucket.replace(
            LEDGER_KEY, msgspec.json.encode(position), expected=self._revision
        )

    async def is_ours(self) -> bool:
        """Whether the record still names this worker; reads the newest revision."""
        standing = await self.load()
        return standing is not None and standing.owner == self._owner

    async def _stream_life(self) -> str:
        jetstream = await self._streams.jetstream()
        with stream_errors():
            told = await jetstream.stream_info(self._stream)
        return str(told.created)
