"""A picture of the queue that stands still: links to full blocks, a copy of the growing one.

Invariant: a snapshot is a store folder that a server could be started on: of each stream on disk
its settings, its consumers, and its messages up to a whole record. Blocks are only appended to, and
only the last one; index files are left out, because the server makes them again from the blocks.
Streams in memory have no files, so nothing of them can get in here (decision 0012).
"""

import asyncio
import base64
import os
import shutil
import struct
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import DamagedError, UnavailableError
from appliance.engines.nats_wire import NatsDoor, ask_nats

STORE: Final = "store"
LEDGER_SUBJECT: Final = "$KV.ledger.events-writer"
WANTED_SUBJECT: Final = "$KV.ledger.replay-from"
"""Where the events worker looks what it must not trim (`storage/streams/block_ledger.py`)."""
_LEDGER_STREAM: Final = "KV_ledger"
_STREAMS: Final = "jetstream/$G/streams"
_FILE_STORAGE: Final = "file"
_RECORD: Final = struct.Struct("<IQqH")
_HEADERS_BIT: Final = 1 << 31
_ERASED_BIT: Final = 1 << 63
_TOMBSTONE_BIT: Final = 1 << 62
_HASH_BYTES: Final = 8
_ANSWER_SECONDS_MAX: Final = 30.0


class StreamFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as its snapshot has it."""

    name: str
    created: str
    last_sequence: int


class _StreamMeta(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    storage: str
    created: str = msgspec.field(name="Created", default="")


class _StreamState(msgspec.Struct, frozen=True, kw_only=True):
    messages: int = 0
    first_seq: int = 0
    last_seq: int = 0


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    description: str = ""


class _StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    created: str = ""
    state: _StreamState = _StreamState()
    error: _Failure | None = None


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    data: str = ""


class _MessageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    message: _Message | None = None


class _Published(msgspec.Struct, frozen=True, kw_only=True):
    seq: int = 0
    error: _Failure | None = None


def copy_streams(folder: Path, target: Path) -> tuple[StreamFacts, ...]:
    """Make a snapshot of the server in `folder` at `target`; which streams it has.

    Nobody may delete messages meanwhile; new ones may come. Raises DamagedError for a store that
    cannot be read.
    """
    source = folder / STORE / _STREAMS
    facts: list[StreamFacts] = []
    for stream in sorted(source.iterdir()) if source.is_dir() else ():
        try:
            meta = msgspec.json.decode((stream / "meta.inf").read_bytes(), type=_StreamMeta)
        except FileNotFoundError:
            continue
        except msgspec.DecodeError as error:
            raise DamagedError("QUEUE_DAMAGED", f"{stream}/meta.inf cannot be read") from error
        if meta.storage != _FILE_STORAGE:
            continue
        copy = target / _STREAMS / stream.name
        last = _copy_stream(stream, copy)
        facts.append(StreamFacts(name=meta.name, created=meta.created, last_sequence=last))
    return tuple(facts)


def _copy_stream(stream: Path, copy: Path) -> int:
    messages = copy / "msgs"
    messages.mkdir(parents=True)
    blocks = sorted(
        (stream / "msgs").glob("*.blk"), key=lambda path: int(path.name.partition(".")[0])
    )
    last = 0
    for path in blocks[:-1]:
        link_or_copy(path, messages / path.name)
    for path in blocks[-1:]:
        content = path.read_bytes()
        size, last = whole_records(content)
        (messages / path.name).write_bytes(content[:size])
    for path in blocks[-2:-1]:
        last = last or whole_records(path.read_bytes())[1]
    for path in (stream / "obs").glob("*/*"):
        if path.name in {"meta.inf", "meta.sum", "o.dat"}:
            kept = copy / path.relative_to(stream)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)
    for name in ("meta.inf", "meta.sum"):
        shutil.copyfile(stream / name, copy / name)
    return last


def whole_records(block: bytes) -> tuple[int, int]:
    """How many bytes of a block are whole records, and the last sequence among them.

    A record being written at this moment is not acknowledged yet, so nobody misses it.
    """
    at, last = 0, 0
    while at + _RECORD.size <= len(block):
        length, sequence, _, _ = _RECORD.unpack_from(block, at)
        length &= ~_HEADERS_BIT
        if length < _RECORD.size + _HASH_BYTES or at + length > len(block):
            break
        at += length
        if not sequence & (_ERASED_BIT | _TOMBSTONE_BIT):
            last = max(last, sequence)
    return at, last


def link_or_copy(path: Path, target: Path) -> None:
    """A hard link where the file system allows one, else a copy."""
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(path, target)


async def stream_state(door: NatsDoor, stream: str) -> tuple[str, int, int, int]:
    """When a stream was made, how many messages it has, its first and its last sequence.

    Raises UnavailableError when there is no such stream.
    """
    info = msgspec.json.decode(await _ask(door, f"$JS.API.STREAM.INFO.{stream}"), type=_StreamInfo)
    if info.error is not None:
        raise UnavailableError("STREAM_MISSING", f"NATS: {stream}: {info.error.description}")
    state = info.state
    return info.created, state.messages, state.first_seq, state.last_seq


async def read_ledger(door: NatsDoor) -> bytes:
    """The record that says which events are stored, as it stands; empty when there is none."""
    request = msgspec.json.encode({"last_by_subj": LEDGER_SUBJECT})
    answer = msgspec.json.decode(
        await _ask(door, f"$JS.API.STREAM.MSG.GET.{_LEDGER_STREAM}", request),
        type=_MessageAnswer,
    )
    return base64.b64decode(answer.message.data) if answer.message is not None else b""


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    first: int
    until: float
    bytes_max: int


async def keep_messages(door: NatsDoor, *, first: int, until: float, bytes_max: int) -> None:
    """Ask the events worker not to trim messages from `first` on until a second of Unix.

    Only while the stream has at most `bytes_max` bytes. Raises UnavailableError.
    """
    wanted = _Wanted(first=first, until=until, bytes_max=bytes_max)
    await _put(door, WANTED_SUBJECT, msgspec.json.encode(wanted))


async def write_ledger(door: NatsDoor, record: bytes) -> None:
    """Set the record back; only while no events worker runs.

    Raises UnavailableError when the queue refuses.
    """
    await _put(door, LEDGER_SUBJECT, record)


async def _ask(door: NatsDoor, subject: str, payload: bytes = b"") -> bytes:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            return await ask_nats(door, subject, payload)
    except (OSError, TimeoutError, EOFError) as error:
        raise UnavailableError(
            "NATS_UNREADY",
            "the queue does not answer",
            hint="see `pug-appliance status`, then try again",
        ) from error


async def _put(door: NatsDoor, subject: str, value: bytes) -> None:
    answer = msgspec.json.decode(await _ask(door, subject, value), type=_Published)
    if answer.error is not None or not answer.seq:
        said = answer.error.description if answer.error is not None else "no answer"
        raise UnavailableError("LEDGER_REFUSED", f"NATS did not take {subject}: {said}")
