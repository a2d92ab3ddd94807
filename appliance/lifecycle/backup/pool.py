"""A folder of backups: objects that many backups share, and one manifest for each backup.

Invariant: an object is believed to be whole only if a sealed manifest lists it; a manifest appears
last, by rename, after everything it lists is on the disk. So whatever cuts a backup off, the folder
holds the backups it held before, and leftovers that the next one removes.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol, Self

import msgspec
import zstandard

from appliance.base.errors import (
    ApplianceError,
    DamagedError,
    MisconfiguredError,
    NotFoundError,
    UnmetError,
)
from appliance.base.files import (
    FileLock,
    ensure_folder,
    flush_folder,
    unwritable,
    write_atomic,
)
from appliance.base.units import Bytes
from appliance.config.secrets import Secret
from appliance.lifecycle.backup.flushing import flush_file_system
from appliance.lifecycle.backup.model import (
    FORMAT,
    Item,
    Manifest,
    Summary,
    parse_summary,
    render_manifest,
    split_manifest,
)
from appliance.lifecycle.backup.sealing import SealedTarget, Sealer, open_sealed, seal_target

MANIFEST: Final = "manifest"
_MARK: Final = "target.json"
_LOCK: Final = ".lock"
_PART_BYTES: Final = 1 << 20
_LEVEL: Final = 3
_OUTER_BYTES: Final = 32
_SAMPLE_BYTES: Final = 256 << 10
_WORTH_IT: Final = 0.95
_PLAIN: Final = b"0"
_COMPRESSED: Final = b"z"
_FREE_BYTES_MIN: Final = Bytes(64 << 20)


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    sealed: SealedTarget | None = None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A backup in a folder; `summary` is None when its manifest is damaged."""

    id: str
    summary: Summary | None

    @property
    def order(self) -> tuple[int, str]:
        """Sorts the backups of one target by when they were made."""
        return self.summary.order if self.summary is not None else (0, self.id)


class Pool:
    """One target, opened. Use it as a context manager to be the only one who changes it."""

    def __init__(self, folder: Path, sealer: Sealer | None) -> None:
        self.folder = folder
        self.sealed = sealer is not None
        self._sealer = sealer
        self._lock = FileLock(folder / _LOCK)

    @classmethod
    def open(cls, folder: Path, passphrase: Secret | None, *, make: bool = False) -> Self:
        """Open a target; with `make` it is made when it does not exist.

        Raises NotFoundError when it is none, UnmetError when its passphrase is missing,
        ForbiddenError when it is wrong, MisconfiguredError when it cannot be written.
        """
        mark = folder / _MARK
        if not mark.exists():
            if not make:
                raise NotFoundError(
                    "NO_BACKUPS",
                    f"{folder} holds no backups",
                    hint="name the folder with --target, or make one with `backup create`",
                )
            return cls._make(folder, passphrase)
        try:
            found = msgspec.json.decode(mark.read_bytes(), type=_Mark)
        except (OSError, msgspec.DecodeError) as error:
            raise DamagedError(
                "TARGET_DAMAGED",
                f"{mark} cannot be read",
                hint="copy it from another target with the same passphrase, or use another target",
            ) from error
        if found.format > FORMAT:
            raise UnmetError(
                "TARGET_NEWER",
                f"{folder} was written by a newer release",
                hint="use that release or a newer one",
            )
        return cls(folder, _open_sealer(found.sealed, passphrase, folder))

    @classmethod
    def peek(cls, folder: Path) -> Self:
        """A target of which only `backups` is asked; needs no passphrase."""
        return cls(folder, None)

    @classmethod
    def _make(cls, folder: Path, passphrase: Secret | None) -> Self:
        ensure_folder(folder)
        sealed, sealer = seal_target(passphrase) if passphrase is not None else (None, None)
        write_atomic(folder / _MARK, msgspec.json.encode(_Mark(sealed=sealed)))
        return cls(folder, sealer)

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def backups(self) -> tuple[Listed, ...]:
        """Every sealed backup in the order they were made; damaged ones come first."""
        found = (_listed(path) for path in (self.folder / "backups").glob(f"*/{MANIFEST}"))
        return tuple(sorted(found, key=lambda one: one.order))

    def load(self, name: str) -> Manifest:
        """One backup; raises NotFoundError or DamagedError."""
        path = self.folder / "backups" / name / MANIFEST
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(
                "BACKUP_UNKNOWN",
                f"there is no backup {name} in {self.folder}",
                hint="`pug-appliance backup list` shows them",
            ) from error
        except OSError as error:
            raise unwritable(path, error) from error
        _, body = split_manifest(content, name=name)
        try:
            plain = b"".join(self._unwrap([body]))
            return msgspec.json.decode(plain, type=Manifest)
        except (ValueError, zstandard.ZstdError, msgspec.DecodeError) as error:
            raise DamagedError(
                "BACKUP_DAMAGED", f"the manifest of {name} cannot be read"
            ) from error

    def known_items(self) -> Iterator[Item]:
        """Every item of every readable backup, oldest first."""
        for listed in self.backups():
            if listed.summary is not None:
                yield from self.load(listed.id).items

    def seal(self, manifest: Manifest) -> None:
        """Make a backup count: flush everything, then let its manifest appear."""
        name = manifest.summary.id
        body = b"".join(self._wrap([msgspec.json.encode(manifest)], compressed=True))
        flush_file_system(self.folder)
        folder = ensure_folder(self.folder / "backups" / name)
        flush_folder(folder.parent)
        write_atomic(folder / MANIFEST, render_manifest(manifest, body))

    def name_of(self, digest: str) -> str:
        """The object's name for a content."""
        return self._sealer.name(digest) if self._sealer is not None else digest

    def object_path(self, name: str) -> Path:
        """Where an object lies."""
        return self.folder / "pool" / name[:2] / name

    def store(self, item: Item, source: Path) -> int:
        """Write an item's object from its files below `source`; how many bytes that took.

        Raises DamagedError when the files are not what was read before.
        """
        path = self.object_path(item.object)
        beside = self.folder / "pool" / "writing"
        try:
            ensure_folder(path.parent)
            digest, outer = hashlib.sha256(), _outer_digest()
            compressed = _is_compressible(item, source)
            with beside.open("wb") as file:
                for chunk in self._wrap(
                    _hashed(read_files(item, source), digest), compressed=compressed
                ):
                    file.write(chunk)
                    outer.update(chunk)
                file.write(outer.digest())
                size = file.tell()
            if digest.hexdigest() != item.digest:
                raise DamagedError("SOURCE_CHANGED", f"{item.name} changed while it was read")
            beside.chmod(0o600)
            beside.replace(path)
        except OSError as error:
            raise unwritable(path, error) from error
        return size

    def read(self, item: Item) -> Iterator[bytes]:
        """The content of an item, checked at its end.

        Raises DamagedError naming the item when the object is missing or changed.
        """
        digest = hashlib.sha256()
        path = self.object_path(item.object)
        try:
            with path.open("rb") as file:
                chunks = _checked(iter(lambda: file.read(_PART_BYTES), b""))
                yield from filter(None, _hashed(self._unwrap(chunks), digest))
        except (OSError, ValueError, zstandard.ZstdError) as error:
            raise _damaged(item, path) from error
        if digest.hexdigest() != item.digest:
            raise _damaged(item, path)

    def set_aside(self, item: Item) -> None:
        """Take a damaged object out of the pool, so that nobody relies on it any more."""
        path = self.object_path(item.object)
        try:
            ensure_folder(self.folder / "damaged")
            path.replace(self.folder / "damaged" / path.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise unwritable(path, error) from error

    def clean(self) -> int:
        """Remove what no sealed backup needs; how many bytes became free. Hold the lock."""
        needed = {item.object for item in self.known_items()}
        # what a damaged manifest needs is not known any more, so then no object may go
        certain = all(listed.summary is not None for listed in self.backups())
        freed = 0
        for folder in (self.folder / "backups").glob("*"):
            if not (folder / MANIFEST).exists():
                shutil.rmtree(folder, ignore_errors=True)
        for path in (self.folder / "pool").glob("*/*"):
            if certain and path.name not in needed:
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
        (self.folder / "pool" / "writing").unlink(missing_ok=True)
        return freed

    def remove(self, name: str) -> None:
        """Make a backup not count any more; its objects go with the next `clean`."""
        folder = self.folder / "backups" / name
        try:
            (folder / MANIFEST).unlink(missing_ok=True)
            flush_folder(folder)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            raise unwritable(folder, error) from error

    def check_room(self, needed: int) -> None:
        """Refuse before anything is written when the target is too full.

        Raises MisconfiguredError telling how much is missing.
        """
        free = shutil.disk_usage(self.folder).free
        if free < needed + _FREE_BYTES_MIN:
            raise MisconfiguredError(
                "TARGET_FULL",
                f"{self.folder} has {free >> 20} MiB free, up to {needed >> 20} MiB are needed",
                hint="free space, keep fewer backups (backup.keep), or use another target",
            )

    def _wrap(self, chunks: Iterable[bytes], *, compressed: bool) -> Iterator[bytes]:
        inner = _compress(chunks) if compressed else _prefixed(_PLAIN, chunks)
        return iter(inner) if self._sealer is None else self._sealer.seal(inner)

    def _unwrap(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        inner = iter(chunks) if self._sealer is None else self._sealer.unseal(chunks)
        first = next(inner, b"")
        if first[:1] == _PLAIN:
            yield first[1:]
            yield from inner
            return
        if first[:1] != _COMPRESSED:
            raise ValueError("an unknown form")
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        yield decompressor.decompress(first[1:])
        for chunk in inner:
            yield decompressor.decompress(chunk)
        if not decompressor.eof:
            raise ValueError("the end is missing")


def read_files(item: Item, source: Path) -> Iterator[bytes]:
    """The files of an item one after the other; raises OSError."""
    for packed in item.files:
        if packed.link:
            continue
        with (source / packed.path).open("rb") as file:
            yield from iter(lambda open_file=file: open_file.read(_PART_BYTES), b"")


def _listed(path: Path) -> Listed:
    name = path.parent.name
    try:
        return Listed(id=name, summary=parse_summary(path.read_bytes(), name=name))
    except (OSError, ApplianceError):
        return Listed(id=name, summary=None)


def _open_sealer(
    sealed: SealedTarget | None, passphrase: Secret | None, folder: Path
) -> Sealer | None:
    if sealed is None:
        if passphrase is not None:
            raise UnmetError(
                "TARGET_PLAIN",
                f"the backups in {folder} are not encrypted",
                hint="use an empty folder as target to have them encrypted",
            )
        return None
    if passphrase is None:
        raise UnmetError(
            "PASSPHRASE_MISSING",
            f"the backups in {folder} are encrypted",
            hint="name the file with --passphrase-file or backup.passphrase_file",
        )
    return open_sealed(sealed, passphrase)


def _is_compressible(item: Item, source: Path) -> bool:
    sample = b""
    for chunk in read_files(item, source):
        sample += chunk
        if len(sample) >= _SAMPLE_BYTES:
            break
    sample = sample[:_SAMPLE_BYTES]
    return len(zstandard.ZstdCompressor(level=1).compress(sample)) < len(sample) * _WORTH_IT


def _compress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    yield _COMPRESSED
    for chunk in chunks:
        squeezed = compressor.compress(chunk)
        if squeezed:
            yield squeezed
    yield compressor.flush()


def _prefixed(prefix: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield prefix
    yield from chunks


def _outer_digest() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=_OUTER_BYTES)


def _checked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What an object's file holds before its last bytes, which are its check sum.

    The check sum inside is not enough: some bits of a compressed form mean nothing.
    """
    digest = _outer_digest()
    held = b""
    for chunk in chunks:
        held += chunk
        if len(held) > _OUTER_BYTES:
            content, held = held[:-_OUTER_BYTES], held[-_OUTER_BYTES:]
            digest.update(content)
            yield content
    if held != digest.digest():
        raise ValueError("not what was written")


def _hashed(chunks: Iterable[bytes], digest: "_Digest") -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _damaged(item: Item, path: Path) -> DamagedError:
    return DamagedError(
        "BACKUP_DAMAGED",
        f"{item.name} is damaged in {path}",
        hint="use another backup, or another target that has this one",
        fields={"object": item.object, "item": item.name},
    )
